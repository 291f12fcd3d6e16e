# SPDX-License-Identifier: Apache-2.0
"""The reader of tutorial pages notices when a page is wrong."""

from pathlib import Path

import pytest

from tests import pages

PAGE = """# A page
```sh terminal=server
echo up; exec sleep 60
```
```sh
until test -s server.log; do sleep 0.05; done
echo one two; echo three
```
```text
one ...
three
```
"""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PATIENCE", 0.0)


def follow(tmp_path: Path, text: str) -> int:
    page = tmp_path / "page.md"
    page.write_text(text)
    reader = pages.Reader(tmp_path, {"you": "/usr/bin"})
    try:
        return reader.follow(page)
    finally:
        reader.close()


def test_a_page_that_is_right_is_followed(tmp_path: Path) -> None:
    assert follow(tmp_path, PAGE) == 2
    assert (tmp_path / "server.log").read_text() == "up\n"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("change", [("three\n", "four\n"), ("echo one two; echo three", "false"), ("one ...\nthree", "three\none ...")])
def test_a_page_that_is_wrong_is_noticed(tmp_path: Path, change: tuple[str, str]) -> None:
    head, _, tail = PAGE.partition("```text") if change[0] != "echo one two; echo three" else (PAGE, "", "")
    wrong = head.replace(*change) if not tail else f"{head}```text{tail.replace(*change)}"
    with pytest.raises(pages.PageFailure, match=r"page\.md:5"):
        follow(tmp_path, wrong)


def test_dots_stand_for_anything_and_order_counts() -> None:
    assert pages.fits("a ... c\n...\nd", "a b c\nx\nd")
    assert not pages.fits("d\na", "a\nd")
