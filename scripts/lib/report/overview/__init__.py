"""The overview of a summary: runs by sweep and status."""
