"""A clip against one level of the library: how each kind of match is found and judged."""
