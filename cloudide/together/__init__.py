"""What people of a workspace say to each other: chat, and comments on text."""
