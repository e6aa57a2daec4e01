"""The terminal session at the top of the README, as an SVG: `python -m tests.picture` makes it anew.

In: the commands of `session`, and what their servers say. Out: `session.svg`, with the text that a real bash and the
real programs left on a real pseudo-terminal. `session` runs them, `drawing` draws what the screen shows at the end.

The terminal is pyte, so that lines wrap, and are erased, as they are. The drawing is our own, since nothing
that is kept up makes such a picture: asciinema's agg and vhs make GIF and video, whose text nobody can select or hear,
and need a browser or Rust; svg-term and termtosvg have had no release for years; rich's SVG does not move, is dark on
every page and fetches a font.
"""

COMMAND = "python -m tests.picture"
