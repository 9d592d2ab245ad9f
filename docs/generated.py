"""Parts of the docs that follow from the code: the data dictionary, commands, figures, the API and the file tree.

    python docs/generated.py --write   # bring all of them up to date
    python docs/generated.py           # exit status 1, and the names of those that are out of date

A part stands in its page between ``<!-- generated: NAME -->`` and ``<!-- end of NAME -->``.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PACKAGES = ("dynamics", "probes", "analysis", "meandrift")
REGISTRIES = {
    "metric": "probes/metrics",
    "hook": "probes/hooks",
    "figure": "analysis/figures",
    "finding": "analysis/findings",
    "norm": "dynamics/norms",
    "framework integration": "probes/integrations",
    "mirror": "probes/mirrors",
}
"""The folder to which a new one of each kind is added."""
PICTURES = {
    "channels": "measures/cnn3/channels.png",
    "complexity": "measures/cnn3/complexity.png",
    "router_map": "",
    **{f"{name}_map": f"transformers/{name}_map.png" for name in ("attention", "residual")},
    "block_map": "transformers/parts/block_map.png",
    "coordinate_check": "coordinate_check/activation_rms/coordinate_check.png",
    "lipschitz": "measures/cnn3/lipschitz.png",
    "landscape": "measures/cnn3/landscape.png",
    "accuracy_time": "",
    "learning_rates": "learning_rates/learning_rates.png",
    "spectrum": "weight_norm/spectrum.png",
    **{f"gan_{name}": f"gan/gan_{name}.cifar10.png" for name in ("losses", "outputs", "scores", "gradients", "bounds")},
    "gan_samples": "gan/gan_samples.mnist.png",
}
"""Committed picture of a figure, where it is not that of the 3-layer CNN; empty where none is committed."""
API = {
    "probe": ("Probe", "Recorder", "metric", "Column", "inspect"),
    "reading": (
        "layers",
        "parameters",
        "channels",
        "units",
        "histograms",
        "spectra",
        "steps",
        "runs",
        "fields",
        "query",
    ),
    "analysis": (
        "findings",
        "figure",
        "plot",
        "weight_histograms",
        "FIGURES",
        "diff",
        "groups",
        "top_layers",
        "join",
        "drift",
        "with_scaled_drift",
        "coordinate_check",
        "width_slopes",
        "channel_drift",
        "compare",
        "with_settings",
        "gradient_concentration",
        "histogram_density",
    ),
    "norms": ("convert", "fold"),
}
"""Names of ``meandrift`` on each page of the API."""


def first_sentence(module: Path) -> str:
    """Return what a Python file says it is: the first line of its docstring."""
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))
    assert docstring, f"{module} has no docstring"
    return docstring.splitlines()[0]


def tree(package: str, root: Path = ROOT) -> str:
    """Return the modules of a package: a row for each folder, and a row for each of its modules below it."""
    rows = ["| module | purpose |", "|---|---|"]
    for folder in sorted({path.parent for path in (root / package).rglob("*.py")}):
        rows.append(f"| **`{folder.relative_to(root)}/`** | {_plain(first_sentence(folder / '__init__.py'))} |")
        for module in sorted(folder.glob("*.py")):
            if module.stem not in {"__init__", "__main__"}:
                rows.append(f"| `{module.name}` | {_plain(first_sentence(module))} |")
    return "\n".join(rows) + "\n"


def _plain(sentence: str) -> str:
    """Return a sentence of a docstring as the text of a cell: outside of code, no sign is markup."""
    parts = re.split(r"(``.*?``)", sentence)
    return "".join(part if at % 2 else re.sub(r"([|*_<])", r"\\\1", part) for at, part in enumerate(parts))


def where_to_add() -> str:
    """Return the table that says where a new metric, hook, figure, ... goes."""
    rows = [f"| {kind} | `{folder}/` |\n" for kind, folder in REGISTRIES.items()]
    return "| to add a | work in |\n|---|---|\n" + "".join(rows)


def figure_table() -> str:
    """Return a row a figure: its name, its title and the number of the published figure."""
    from analysis.figures import FIGURES

    rows = [f"| {figure_link(name)} | {spec.title} | {spec.reads} | {spec.paper} |\n" for name, spec in FIGURES.items()]
    return "| figure | shows | reads table | in the paper |\n|---|---|---|---|\n" + "".join(rows)


def figure_link(name: str) -> str:
    """Return the name of a figure, as a link to its picture where one is committed."""
    return f"[`{name}`](#{name})" if picture(name) else f"`{name}`"


def picture(name: str) -> str:
    """Return the committed picture of a figure, relative to ``figures/``; empty where there is none."""
    return PICTURES.get(name, f"cnn3/{name}.png")


def figure_gallery() -> str:
    """Return the pictures of all figures, each under its name and title."""
    from analysis.figures import FIGURES

    shown = [(name, spec) for name, spec in FIGURES.items() if picture(name)]
    return "\n".join(
        f"### {name}\n\n{spec.title}.\n\n![{spec.title}](../figures/{picture(name)})\n" for name, spec in shown
    )


def command_reference() -> str:
    """Return a section for each command: its help, its example and its options by panel."""
    return "\n".join(_command(name, command) for name, command in _commands().items())


def command_table() -> str:
    """Return a row a command: its name and the first sentence of its help."""
    rows = [f"| [`meandrift {n}`](#{n}) | {_prose(c.help).split(chr(10))[0]} |\n" for n, c in _commands().items()]
    return "| command | purpose |\n|---|---|\n" + "".join(rows)


def api(page: str) -> str:
    """Return the references to the names of one page of the API."""
    import meandrift

    entries = []
    for name in API[page]:
        value = getattr(meandrift, name)
        home = f"{value.__module__}.{value.__qualname__}" if callable(value) else f"analysis.figures.{name}"
        entries.append(f"::: {home}\n    options:\n      heading: md.{name}\n      toc_label: {name}\n")
    return "\n".join(entries)


def _commands() -> dict:
    import typer

    from dynamics.cli import make_app

    return typer.main.get_command(make_app()).commands


def _command(name: str, command) -> str:
    text, example = re.fullmatch(r"(.*?)\s*Example: `(.*)`", command.help, re.DOTALL).groups()
    panels: dict[str, list] = {}
    for parameter in command.params:
        panels.setdefault(getattr(parameter, "rich_help_panel", None) or "", []).append(parameter)
    tables = [_options(panel, parameters) for panel, parameters in panels.items()]
    return f"### {name}\n\n{_prose(text)}\n\n```bash\n{example}\n```\n\n" + "\n".join(tables)


def _prose(text: str) -> str:
    """Return a help text with one line a paragraph."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", text.strip())


def _options(panel: str, parameters: list) -> str:
    head = f"{panel or 'option'}"
    rows = []
    for parameter in parameters:
        argument = parameter.param_type_name == "argument"
        names = parameter.name.upper() if argument else ", ".join([*parameter.opts, *parameter.secondary_opts])
        rows.append(f"| `{names}` | {_cell(parameter.help or '')}{_default(parameter)} |\n")
    return f"| {head} | |\n|---|---|\n" + "".join(rows)


def _default(parameter) -> str:
    value = parameter.default
    if value is None or value is False or value == "" or callable(value) or "Default:" in (parameter.help or ""):
        return ""
    return f" Default: `{value}`."


def _cell(text: str) -> str:
    return _prose(text).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def _dictionary(table: str) -> Callable[[], str]:
    def text() -> str:
        from probes.dictionary import data_dictionary

        return data_dictionary()[table]

    return text


TABLES = ("layers", "parameters", "channels", "units", "histograms", "spectra", "steps", "runs")
PARTS: dict[str, tuple[str, Callable[[], str]]] = {
    **{f"table {table}": (f"data/{table}.md", _dictionary(table)) for table in TABLES},
    "commands": ("commands.md", command_table),
    "options": ("commands.md", command_reference),
    "figures": ("figures.md", figure_table),
    "pictures": ("figures.md", figure_gallery),
    "registries": ("architecture.md", where_to_add),
    **{f"tree of {package}": ("architecture.md", lambda package=package: tree(package)) for package in PACKAGES},
    **{f"api of {page}": (f"api/{page}.md", lambda page=page: api(page)) for page in API},
}
"""For each part the page in which it stands and the function that makes it."""


def marked(name: str) -> re.Pattern[str]:
    """Return the pattern of a part in its page, with its marks."""
    return re.compile(f"(?<=<!-- generated: {name} -->\n\n).*?(?=\n<!-- end of {name} -->)", re.DOTALL)


def brought_up_to_date(page: str, text: str) -> str:
    """Return the text of a page with each of its parts as it must be."""
    for name, (place, made) in PARTS.items():
        if place == page:
            assert len(marked(name).findall(text)) == 1, f"docs/{page} must hold the marks of {name!r} once"
            start, end = marked(name).search(text).span()
            text = text[:start] + made() + text[end:]
    return text


def out_of_date() -> Iterator[tuple[Path, str]]:
    """Yield each page whose parts are not as they must be, with the text that it must have."""
    for page in sorted({page for page, _ in PARTS.values()}):
        now = (DOCS / page).read_text(encoding="utf-8")
        if (text := brought_up_to_date(page, now)) != now:
            yield DOCS / page, text


if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # in the place of docs/
    stale = list(out_of_date())
    for path, text in stale:
        print(f"{path.relative_to(ROOT)} {'written' if '--write' in sys.argv else 'is out of date'}")
        if "--write" in sys.argv:
            path.write_text(text, encoding="utf-8")
    sys.exit(bool(stale) and "--write" not in sys.argv)
