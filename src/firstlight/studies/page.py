"""page."""


def render(study: object) -> str:
    """Page."""
    return "<html></html>"
