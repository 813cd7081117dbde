"""Hook of mkdocs: the notebooks as pages of the site, with the outputs that are stored in them."""

from __future__ import annotations

import html
import json
import posixpath
import re
from typing import Any


def on_files(files: Any, config: Any) -> Any:
    """Add a page for every notebook, beside the file itself."""
    from mkdocs.structure.files import File

    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            name = posixpath.basename(file.src_uri)
            download = f'<p><a href="{name}" download>Download this notebook</a></p>'
            content = f"{download}\n\n{as_markdown(json.loads(file.content_string))}"
            files.append(File.generated(config, file.src_uri.removesuffix("ipynb") + "md", content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Point links to notebooks to their pages."""
    return re.sub(r"(\]\([^()\s:]+\.)ipynb\)", r"\1md)", markdown)


def as_markdown(notebook: dict[str, Any]) -> str:
    """The cells of a notebook (version 4), each output below its code."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            parts += [f"```python\n{source}\n```", *map(_as_shown, cell["outputs"])]
        else:
            parts.append(source)
    return "\n\n".join(parts) + "\n"


def _as_shown(output: dict[str, Any]) -> str:
    """An output as Markdown, in the richest of the forms that it has."""
    data = output.get("data", {"text/plain": output.get("text", "")})
    kind = next(kind for kind in ("image/svg+xml", "image/png", "text/markdown", "text/plain") if kind in data)
    content = "".join(data[kind]).strip()
    if kind == "image/svg+xml":
        return f"<div>{content}</div>"
    if kind == "image/png":
        alternative = html.escape(output.get("metadata", {}).get(kind, {}).get("alt", ""))
        return f'<p><img alt="{alternative}" src="data:image/png;base64,{content}"></p>'
    return content if kind == "text/markdown" else f"```text\n{content}\n```"
