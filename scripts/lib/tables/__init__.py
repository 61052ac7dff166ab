"""Tables: functions from the summary to what people read, and their Markdown and HTML forms."""
