"""The report of a run: one HTML file, made from the files of a run folder and nothing else. No torch.

`read` turns the folder into plain values, `words` says them, `tables` and `facts` set them out, `figures` and
`pictures` draw them, `html` puts them together; `template.html` and `style.css` are the page.
"""

from stillhouse.report.html import write_report

__all__ = ["write_report"]
