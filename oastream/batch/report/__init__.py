"""--report: one HTML page that shows how a batch went, and needs nothing else. Loaded with that option only.

    report      the run                        → what is looked at when, and a `snapshot` of it
    gate        first events of a server       → their times, besides what a gate does
    sampling    counts, with their moments     → curves in constant memory, however long the run
    failures    items without a plain answer   → the first of them, grouped by what went wrong
    page        a snapshot                     → HTML (`overview`, `tables`: its parts; `assets`: CSS and script)
    page_file   pages                          → FILE, replaced whole
    panels      curves                         → the charts of the page, with their words
    chart       a chart                        → SVG (`scale`: round ticks; `units`: numbers for people)
    markup      text from anywhere             → HTML in which it is text, whatever it says

The charts are drawn by hand: pygal 3.1 needs 26 kB and a script for each, has one colour scheme, and draws no titles
for screen readers; pysvgchart 0.8 and leather 0.4 know no gaps; svg.py writes tags, and leaves axes and paths to us.
"""
