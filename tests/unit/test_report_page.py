"""The report page: complete in itself, escaped, and honest about noise and missing runs."""

import base64
import io
import re
import struct
import zlib
from html.parser import HTMLParser
from itertools import pairwise

import pandas as pd
import pytest

from workflow_scripts.report import page

RUNS = """\
dataset,method,key,epsilon,seed,directory,status,epsilon_spent,delta,noise_source,seconds
digits,random,aaaaaaaaaaaa,0,0,results/runs/r,done,0,0,,2.5
digits,pe,bbbbbbbbbbbb,1,0,results/runs/p,done,0.99999,9.33e-05,os,100
digits,pe,bbbbbbbbbbbb,10,0,,missing,,,,
digits,real,cccccccccccc,inf,0,results/evaluation/x,done,inf,,,7265
"""
VOID = {"meta", "img", "br", "wbr"}


def tiny_png(width=300, height=150):
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + bytes(width) for _ in range(height)))
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    )


def render(**changes):
    runs = pd.read_csv(io.StringIO(RUNS), dtype={"key": str})
    given = {
        "experiment": "demo",
        "table_html": '<table id="comparison-table"></table>',
        "notes": ["Mean ± sd"],
        "runs": runs,
        "figures": [{"title": "Accuracy", "caption": "By iteration.", "png": tiny_png()}],
        "facts": {"Version": "0.1.0"},
    }
    return page.render(**{**given, **changes})


class Page(HTMLParser):
    """Tags with attributes, the text, and a check that tags are balanced."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text, self.headings = [], [], "", []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "wbr":
            # A place where a line may break is not a space.
            self.text = self.text.removesuffix(" ")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += f"{data} "
        if self.open and re.fullmatch(r"h\d", self.open[-1]):
            self.headings.append((int(self.open[-1][1]), data))

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


def test_needs_nothing_but_itself():
    text = render()
    parsed = Page(text)
    assert not parsed.all("script") and not parsed.all("link") and not parsed.all("iframe")
    assert [a["src"][:22] for a in parsed.all("img")] == ["data:image/png;base64,"]
    assert "http://" not in text and "https://" not in text
    assert "url(" not in text and "@import" not in text
    (policy,) = [a for a in parsed.all("meta") if "http-equiv" in a]
    assert policy["content"].startswith("default-src 'none'")


def test_holds_the_pictures_unchanged_at_their_size_on_paper():
    (image,) = Page(render()).all("img")
    assert base64.b64decode(image["src"].split(",")[1]) == tiny_png()
    # 300 × 150 pixels at 150 dpi are 2 × 1 inches of 96 CSS pixels.
    assert (image["width"], image["height"]) == ("192", "96")
    assert image["alt"] == "Accuracy"


def test_alt_text_can_say_more():
    figure = {"title": "T", "caption": "C", "png": tiny_png(), "alt": "Rises from 40 to 80 %."}
    assert Page(render(figures=[figure])).all("img")[0]["alt"] == "Rises from 40 to 80 %."


def test_everything_but_the_table_is_escaped():
    bad = '<script>alert("x")</script>'
    runs = pd.read_csv(io.StringIO(RUNS), dtype={"key": str})
    runs.loc[0, ["dataset", "method", "directory"]] = bad
    figure = {"title": bad, "caption": bad, "png": tiny_png(), "alt": bad}
    text = render(experiment=bad, notes=[bad], runs=runs, figures=[figure], facts={bad: bad})
    parsed = Page(text)
    assert not parsed.all("script")
    assert parsed.text.count(bad) >= 9
    assert '<table id="comparison-table"></table>' in text


def test_headings_descend_and_contents_lead_to_them():
    parsed = Page(render())
    levels = [level for level, _ in parsed.headings]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    targets = [a["href"][1:] for a in parsed.all("a")]
    assert targets == ["comparison", "figures", "figure-1", "runs", "facts"]
    ids = [a["id"] for _, a in parsed.tags if "id" in a]
    assert len(ids) == len(set(ids)) and set(targets) <= set(ids)


def test_runs_are_listed_with_what_they_spent():
    text = re.sub(r"\s+", " ", Page(render()).text)
    assert "digits pe 1 0 done 1.000 9.4×10⁻⁵ secret 1 min 40 s results/runs/p" in text
    assert "digits pe 10 0 missing – – – – " in text
    assert "digits real ∞ 0 done ∞ – – 2 h 01 min results/evaluation/x" in text
    assert "3 of 4 done, 2 h 02 min of computing" in text


def test_warns_of_missing_runs_and_of_disclosed_noise():
    runs = pd.read_csv(io.StringIO(RUNS), dtype={"key": str})
    text = render(runs=runs)
    assert "Incomplete." in text and "1 of 4 runs is missing" in text
    assert "Not for release." not in text
    runs = runs[runs["status"] == "done"].assign(noise_source="seeded")
    text = render(runs=runs)
    assert "Incomplete." not in text
    assert "Not for release." in text


def test_without_figures_and_facts_their_sections_are_left_out():
    parsed = Page(render(figures=[], facts={}, notes=[]))
    assert [name for _, name in parsed.headings] == ["demo", "Comparison", "Runs"]
    assert [a["href"] for a in parsed.all("a")] == ["#comparison", "#runs"]


@pytest.mark.parametrize(
    "name, title, said",
    [
        ("accuracy_by_iteration", "Accuracy by iteration", "of a classifier (CNN) trained on the"),
        ("accuracy_by_epsilon", "Accuracy by ε", "of a classifier (CNN) trained on releases"),
        (
            "query_digits~1e205b206bb7_semantic-query~2e205b206bb7_glyph-edm~3e205b206bb7",
            "Semantic query: digits, for glyph-edm",
            "public classes that were chosen",
        ),
        ("samples_digits~1e205b206bb7", "Samples: digits", "No private image is shown."),
        ("samples_my~set_2~1e205b206bb7", "Samples: my~set_2", "No private image is shown."),
    ],
)
def test_figures_of_the_workflow_are_titled_by_their_file_names(name, title, said, tmp_path):
    path = tmp_path / f"{name}.png"
    path.write_bytes(tiny_png())
    figure = page.figure_of(str(path), "cnn")
    assert figure["title"] == title and figure["png"] == tiny_png()
    assert said in figure["caption"]


def test_refuses_what_is_not_a_png():
    with pytest.raises(ValueError, match="figure 'Photo': not a PNG"):
        render(figures=[{"title": "Photo", "caption": "", "png": b"\xff\xd8\xff"}])


def test_equal_input_gives_equal_text():
    assert render() == render()
