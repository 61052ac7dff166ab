"""Text that every Python carries, for runs that name none of their own."""


def embedded_text() -> str:
    """Text that every Python installation carries: its language reference by topic."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics))
