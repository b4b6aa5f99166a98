"""What happened, told to other programs: as a stream that can be resumed, and by webhooks."""
