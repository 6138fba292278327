"""The site builds without a warning, asks nothing of other hosts and shows equations; links lead somewhere."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import ROOT, page_names

LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [str(Path(sys.executable).parent / "mkdocs"), "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def pages(site: Path) -> Iterator[tuple[str, str]]:
    for file in site.rglob("*.html"):
        yield str(file.relative_to(site)), file.read_text(encoding="utf-8")


@pytest.mark.docs
def test_nothing_is_asked_of_other_hosts(site: Path) -> None:
    for name, text in pages(site):
        asked = re.findall(r'<(?:script|img|link|iframe)\b[^>]*(?:src|href)="(https?:[^"]+)"', text)
        assert asked == [], f"{name} loads {asked}"


@pytest.mark.docs
def test_equations_are_mathml(site: Path) -> None:
    text = (site / "methods" / "role" / "index.html").read_text(encoding="utf-8")
    assert text.count("<math ") >= 4
    for name, text in pages(site):
        outside_code = re.sub(r"<(code|pre)\b.*?</\1>", "", text, flags=re.DOTALL)
        assert "arithmatex" not in outside_code, f"{name} has TeX that was not translated"
        assert r"\frac" not in outside_code, name


@pytest.mark.docs
def test_api_pages_have_what_a_library_user_needs(site: Path) -> None:
    for page, names in {
        "labels": ("Batch", "from_signed"),
        "observation": ("observe", "SinglePositive"),
        "losses": ("expected_positives_penalty",),
        "methods": ("Method", "build_method"),
        "metrics": ("mean_average_precision",),
        "trainer": ("Trainer", "epochs"),
        "predictor": ("Predictor",),
    }.items():
        text = (site / "api" / page / "index.html").read_text(encoding="utf-8")
        for name in names:
            assert re.search(rf'id="plml\.[\w.]*\b{name}"', text), f"api/{page} does not show {name}"


def anchors(text: str) -> set[str]:
    """Return the anchors that a repository's pages give the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", re.sub(r"[`*]", "", heading).lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", page_names())
def test_links_and_anchors_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target, anchor in LINK.findall(re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)):
        file = (ROOT / page).parent / target if target else ROOT / page
        assert file.exists(), f"{page} links to {target}"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file.read_text(encoding="utf-8")), f"{page} links to {target}#{anchor}"
