"""How the values of this package show themselves in a notebook."""


def repr_html(value: object) -> str:
    """The `_repr_html_` of the types that `showing` knows; they know of it no sooner than somebody looks."""
    from samsum_stream.showing import as_html, shown

    return as_html(shown(value))
