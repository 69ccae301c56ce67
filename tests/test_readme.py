"""The README's generated parts are what the code says. `python -m tests.test_readme` writes them anew."""

from __future__ import annotations

from pathlib import Path

from config.settings import describe

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- settings -->\n", "<!-- /settings -->\n"


def settings_table() -> str:
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for doc in describe():
        default = f"`{doc.default}`" if doc.default else ""
        unit = f" ({doc.unit})" if doc.unit else ""
        secret = "; a secret, so `_FILE` works too" if doc.secret else ""
        rows.append(f"| `{doc.name}` | {default} | {doc.meaning}{unit}{secret} |")
    return "\n".join(rows) + "\n"


def renewed(text: str) -> str:
    before, rest = text.split(BEGIN)
    return before + BEGIN + settings_table() + END + rest.split(END)[1]


def test_the_readme_lists_every_setting_as_the_code_has_it() -> None:
    text = README.read_text("utf-8")
    assert renewed(text) == text


if __name__ == "__main__":
    README.write_text(renewed(README.read_text("utf-8")), "utf-8")
