"""A report as the description of an MLflow run: what is kept, what is cut, where the rest is."""

from ablations.description import LIMIT, description


def report(rows: int, tables: int = 1) -> str:
    lines = ["# mine", "", "What it is.", "", "## Conclusion", "", "- b is best."]
    for table in range(tables):
        lines += ["", f"## table {table}", "", "| cell | mean |", "| --- | ---: |"]
        lines += [f"| cell {row} of {table} | {row}.25 |" for row in range(rows)]
        lines += ["", "`n`: finished runs."]
    for title, stem in (("Every cell with its runs", "intervals"), ("Difference by class", "class_differences")):
        lines += ["", f"## {title}", "", f"![{title}](figures/{stem}.png)"]
    return "\n".join(lines) + "\n"


def test_a_short_report_is_whole_and_shows_its_first_picture() -> None:
    text = description(report(3), "abc")
    assert report(3)[: report(3).index("\n## Every")].strip() in text
    assert "![Every cell with its runs](get-artifact?run_uuid=abc&path=figures/intervals.svg)" in text
    assert "class_differences" not in text
    assert text.endswith("`report.md`.")


def test_a_long_table_is_cut_at_a_row_and_says_so() -> None:
    text = description(report(1000), "abc", name="report-selected-on-clean.md")
    assert len(text) <= LIMIT
    assert "- b is best." in text
    shown = [line for line in text.splitlines() if line.startswith("| cell ")][1:]
    assert shown == [f"| cell {row} of 0 | {row}.25 |" for row in range(len(shown))]
    assert f"{1000 - len(shown)} more rows stand in the report." in text
    assert len(text) > LIMIT - 200  # as many as have room
    assert "figures/intervals.svg" in text
    assert text.endswith("`report-selected-on-clean.md`.")


def test_tables_that_have_no_room_are_left_out_in_their_order() -> None:
    text = description(report(100, tables=6), "abc")
    assert len(text) <= LIMIT
    whole = [table for table in range(6) if f"| cell 99 of {table} |" in text]
    assert whole == list(range(len(whole)))
    assert 0 < len(whole) < 6
    assert f"## table {len(whole) + 1}" not in text


def test_nothing_but_a_conclusion_is_cut_between_words() -> None:
    text = description("# mine\n\n## Conclusion\n\n" + "word " * 4000, "abc")
    assert LIMIT - 10 < len(text) <= LIMIT
    assert text.endswith("word ...")
