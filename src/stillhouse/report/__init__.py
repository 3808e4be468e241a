"""The report of a run: one HTML file, made from the files of a run folder and nothing else. No torch.

`read` turns the folder into plain values, `words` puts them into words, `figures` draws them, a task adds its own `blocks`,
and `page` sets it all out; `page.html` and `style.css` are the page.
"""
