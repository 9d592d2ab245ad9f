"""Lets the site show pages and pictures that stand outside of ``docs/``, without copies. A hook of MkDocs.

Pages link to files by their place in the repository, such as ``../figures/cnn3/accuracy.png``.
A link to a file that the site lacks leads into the repository, if mkdocs.yml names one, and is text otherwise.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "examples/README.md": "examples.md",
    "figures/README.md": "paper/claims.md",
    "figures/gan/README.md": "paper/gans.md",
    "figures/causes/README.md": "paper/causes.md",
    "figures/transformers/README.md": "paper/transformers.md",
    "figures/coordinate_check/README.md": "paper/coordinate_check.md",
    "figures/sequence/README.md": "paper/sequence.md",
    "figures/EXPERIMENTS.md": "paper/runs.md",
    "tests/benchmarks/RESULTS.md": "benchmarks/results.md",
    "tests/benchmarks/LIMITS.md": "benchmarks/limits.md",
    "tests/gpu/README.md": "benchmarks/gpu.md",
}
"""Pages of the repository, and their places on the site."""
LINK = re.compile(r"(!?)\[((?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|doc):(<code[^>]*>)~?([^<]+</code>)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and the pictures of the repository."""
    for source, place in PAGES.items():
        if (ROOT / source).exists():
            files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    for picture in sorted((ROOT / "figures").rglob("*.png")):
        place = picture.relative_to(ROOT).as_posix()
        files.append(File.generated(config, f"pictures/{place}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn links between files of the repository into links of the site."""
    here = Path(page.file.abs_src_path).parent

    def link(found: re.Match[str]) -> str:
        image, text, target, anchor = found.groups()
        text = LINK.sub(link, text)  # a picture inside of a link
        path = Path(os.path.normpath(here / target))
        if not path.exists() or not path.is_relative_to(ROOT):
            return found[0]  # MkDocs tells
        place = site_place(path.relative_to(ROOT).as_posix())
        if files.get_file_from_path(place):
            relative = os.path.relpath(place, PurePosixPath(page.file.src_uri).parent)
            return f"{image}[{text}]({relative}{anchor or ''})"
        if config.repo_url:
            return f"[{text}]({config.repo_url.rstrip('/')}/blob/main/{path.relative_to(ROOT).as_posix()})"
        return text

    parts = FENCE.split(markdown)
    return "".join(part if FENCE.fullmatch(part) else LINK.sub(link, part) for part in parts)


def site_place(path: str) -> str:
    """Return the place on the site that a file of the repository has, if it is there at all."""
    if path in PAGES:
        return PAGES[path]
    return path.removeprefix("docs/") if path.startswith("docs/") else f"pictures/{path}"


def on_page_content(html: str, **_: Any) -> str:
    """Show roles of docstrings, such as ``:class:`Probe```, as code alone."""
    return ROLE.sub(r"\1\2", html)
