"""Git with a person's own hands: credentials that never enter a container, and what needs them."""
