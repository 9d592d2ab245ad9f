"""The pages say what the code does: generated parts are up to date, names and options exist, links lead somewhere."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest
import typer

from tests.scripts import load_script

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
ALL = {"README.md": README, **PAGES}


generated = load_script(DOCS / "generated.py")


def test_the_readme_has_at_most_130_lines() -> None:
    assert len(README.splitlines()) <= 130


@pytest.mark.parametrize("part", generated.PARTS)
def test_a_part_that_follows_from_the_code_is_up_to_date(part: str) -> None:
    page, made = generated.PARTS[part]
    [found] = generated.marked(part).findall(PAGES[f"docs/{page}"])
    assert found == made(), "run `python docs/generated.py --write`"


@pytest.mark.parametrize(
    ("page", "now", "before"),
    [
        ("figures.md", "| `router_map` |", "| `router` |"),
        ("architecture.md", "`query.py`", "`sql.py`"),
        ("data/steps.md", "| `lr` |", "| `rate` |"),
        ("commands.md", "`--landscape-every`", "`--landscape`"),
        ("api/reading.md", "::: analysis.reading.tables.layers\n", "::: analysis.layers\n"),
    ],
)
def test_a_part_that_is_out_of_date_is_written_anew(page: str, now: str, before: str) -> None:
    text = PAGES[f"docs/{page}"]
    assert now in text
    stale = text.replace(now, before)
    assert stale != text
    assert generated.brought_up_to_date(page, stale) == text


def test_a_new_module_changes_the_tree(tmp_path: Path) -> None:
    (tmp_path / "probes").mkdir()
    (tmp_path / "probes" / "__init__.py").write_text('"""A package."""')
    before = generated.tree("probes", tmp_path)
    (tmp_path / "probes" / "new.py").write_text('"""A new idea."""')
    added = set(generated.tree("probes", tmp_path).splitlines()) - set(before.splitlines())
    assert added == {"| `new.py` | A new idea. |"}


def test_every_module_is_in_the_tree() -> None:
    page = PAGES["docs/architecture.md"]
    for package in generated.PACKAGES:
        for module in (ROOT / package).rglob("*.py"):
            name = f"{module.parent.relative_to(ROOT)}/" if module.stem == "__init__" else module.name
            assert module.stem == "__main__" or f"`{name}`" in page, module


def test_every_registry_has_a_folder() -> None:
    assert [folder for folder in generated.REGISTRIES.values() if not (ROOT / folder).is_dir()] == []


def test_every_table_of_a_page_has_words_in_its_head() -> None:
    empty = [
        f"{page}: {line}" for page, text in PAGES.items() for line in text.splitlines() if line.strip("| ") == "" < line
    ]
    assert empty == []


def test_every_table_of_the_store_has_a_page_with_all_its_columns() -> None:
    from probes.dictionary import columns_by_table

    assert set(generated.TABLES) == set(columns_by_table())
    for table, columns in columns_by_table().items():
        assert f"](data/{table}.md)" in PAGES["docs/data/index.md"].replace("](", "](data/")
        missing = [column.name for column in columns if f"| `{column.name}` |" not in PAGES[f"docs/data/{table}.md"]]
        assert missing == []


def test_the_api_has_every_public_name_once() -> None:
    import dynamics.norms
    import meandrift
    import probes

    names = [name for page in generated.API.values() for name in page]
    assert sorted(names) == sorted(meandrift.__all__)
    assert set(probes.__all__) <= set(names)
    text = "".join(text for page, text in PAGES.items() if page.startswith("docs/api/"))
    for name in dynamics.norms.__all__:
        assert re.search(rf"(dynamics\.norms|md)\.{name}\n", text), name


def test_every_committed_picture_of_a_figure_is_shown() -> None:
    from analysis.figures import FIGURES

    shown = {name: generated.picture(name) for name in FIGURES}
    assert [path for path in shown.values() if path and not (ROOT / "figures" / path).exists()] == []
    drawn = {path.name.split(".")[0] for path in (ROOT / "figures").rglob("*.png")}
    assert {name for name, path in shown.items() if not path} & drawn == set()


def first_cells(page: str) -> list[str]:
    """Return the names in the first column of the tables of a page."""
    return [
        name
        for line in ALL[page].splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    ]


def test_the_guides_name_every_group_of_metrics_and_every_norm() -> None:
    from dynamics.norms import NORMS
    from probes.metrics import METRICS

    assert set(first_cells("docs/guides/schedules.md")) == {metric.group for metric in METRICS.values()}
    assert set(first_cells("docs/guides/norms.md")) == set(NORMS)


def test_help_of_train_names_every_norm() -> None:
    from dynamics.classifier.config import RunConfig
    from dynamics.norms import NORMS

    said = RunConfig.__dataclass_fields__["norm"].metadata["help"]
    assert {name for name in NORMS if not re.search(rf"\b{name}\b", said)} == set()


@pytest.mark.parametrize(("command", "parameter"), [("query", "sql"), ("export", "table")])
def test_help_of_a_command_names_every_table_that_it_reads(command: str, parameter: str) -> None:
    from dynamics.cli import make_app
    from probes.schema import TABLES

    entries = {entry.name: entry for entry in typer.main.get_command(make_app()).commands[command].params}
    assert {name for name in TABLES if not re.search(rf"\b{name}\b", entries[parameter].help)} == set()


def test_numbers_in_words_are_those_of_the_code() -> None:
    from analysis.figures import FIGURES
    from analysis.findings import FINDINGS

    assert f"[{len(FIGURES)} figures]" in PAGES["docs/getting_started.md"]
    assert f"lists the {len(FINDINGS)} kinds of faults" in PAGES["docs/getting_started.md"]


def command_lines(text: str) -> list[str]:
    """Return the command lines in Markdown, each as the words after ``meandrift``."""
    spans = re.findall(r"`(meandrift [a-z][^`\n]*|torchrun [^`\n]*)`", text)
    blocks = [line for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL) for line in block.splitlines()]
    found = [re.search(r"(?:meandrift|-m dynamics) ([a-z].*)", line) for line in spans + blocks]
    return [match[1] for match in found if match]


@functools.cache
def options() -> dict[str, set[str]]:
    """Return the options of each command."""
    from dynamics.cli import make_app

    commands = typer.main.get_command(make_app()).commands
    return {name: {option for entry in command.params for option in entry.opts} for name, command in commands.items()}


def unknown_options(line: str) -> set[str]:
    """Return the options of a command line that its command does not have."""
    command, _, rest = line.partition(" ")
    return set(re.findall(r"(?<!\S)-{1,2}[a-z][a-z0-9-]*", rest)) - options()[command]


@pytest.mark.parametrize("page", ALL)
def test_commands_on_a_page_have_the_options_it_gives_them(page: str) -> None:
    lines = command_lines(ALL[page])
    assert {line: unknown for line in lines if (unknown := unknown_options(line))} == {}
    ours = set.union(*options().values())
    named = set(re.findall(r"`(--[a-z0-9-]+)", ALL[page])) - {
        "--hypothesis-profile",
        "--nproc-per-node",
        "--no-compile",
    }
    assert named <= ours


def test_commands_are_found_on_pages() -> None:
    assert "gan --critic-norm msn --width 16 --steps 500" in command_lines(PAGES["docs/guides/trainings.md"])
    assert "train --run-id two" in command_lines(PAGES["docs/guides/trainings.md"])
    assert "check runs" in command_lines(README)


def test_an_option_that_is_none_is_noticed() -> None:
    assert unknown_options("train --nrom bn --run x") == {"--nrom"}


def test_every_command_is_on_its_page_and_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    from dynamics.cli import make_app, run

    for command in make_app().registered_commands:
        name = command.name or command.callback.__name__
        assert f"[`meandrift {name}`](#{name})" in PAGES["docs/commands.md"]
        assert run([name, "--help"]) == 0
        assert f"Example: meandrift {name}" in capsys.readouterr().out


@pytest.mark.parametrize("page", ALL)
def test_a_page_begins_with_its_title_and_a_sentence(page: str) -> None:
    """A heading needs a blank behind its signs: GitHub shows ``#Title`` as text."""
    text = re.sub(r"```.*?```|<!--.*?-->", "", ALL[page], flags=re.DOTALL)
    assert re.match(r"# [^\n]+\n\n[\w`\[][^\n]+", text)
    assert re.findall(r"^#+[^#\s].*", text, flags=re.MULTILINE) == []


def code(text: str, *languages: str) -> str:
    """Return the blocks of a page in these languages."""
    blocks = re.findall(r"^```(\w+)[^\n]*\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    return "\n".join(block for language, block in blocks if language in languages)


@pytest.mark.parametrize("page", ALL)
def test_code_fits_its_box_on_a_wide_screen(page: str) -> None:
    """The box of a page holds 96 characters; the site breaks long lines of commands and of output."""
    lines = code(ALL[page], "python", "toml").splitlines()
    assert [line for line in lines if len(line) > 96] == []


@pytest.mark.parametrize("page", ALL)
def test_no_two_notes_side_by_side_are_taken_for_a_link(page: str) -> None:
    """Markdown takes ``[8] [3]`` for a link with the text 8 to the address named 3; ``[8], [3]`` are two notes."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", ALL[page], flags=re.DOTALL)
    assert re.findall(r"\[[^\[\]]+\] ?\[[^\[\]]*\]", prose) == []


@pytest.mark.parametrize("page", ALL)
def test_every_file_that_a_page_links_to_is_there(page: str) -> None:
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", ALL[page])
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_the_navigation_has_every_page_of_the_docs() -> None:
    """What MkDocs would tell, where it is not installed."""
    navigation = set(re.findall(r"[\w/]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    assert {page.removeprefix("docs/") for page in PAGES} - navigation == set()
