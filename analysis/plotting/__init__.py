"""Parts that figures share: style, page, axes and panels."""
