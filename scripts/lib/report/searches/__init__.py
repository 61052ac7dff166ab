"""Tables and figures of the searches for a largest batch."""
