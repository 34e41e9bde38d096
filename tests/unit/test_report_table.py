"""The comparison table: numbers against the standard library, markup against other parsers."""

import io
import math
import re
import statistics
from html.parser import HTMLParser

import pandas as pd
import pytest

from workflow_scripts.report import table as reporting
from workflow_scripts.report.layout import PANEL_COLUMNS

NOTES = ["Mean ± sd, ε ≤ 1 & δ = 10⁻⁵: 100 % of a_b <c>."]


def runs_of(cells, seeds=(0, 1), missing=(), noise="os", dataset="digits"):
    """Runs of (method, ε) pairs, as `pandas.read_csv` returns them."""
    lines = ["dataset,method,key,epsilon,seed,directory,status,epsilon_spent,delta,noise_source"]
    for method, epsilon in cells:
        for seed in seeds:
            source = noise if 0 < epsilon < math.inf else ""
            delta = {0: "0", math.inf: ""}.get(epsilon, "9.33e-05")
            spent = epsilon if not 0 < epsilon < math.inf else epsilon * (1 - 1e-3 * seed)
            facts = "missing,,," if (method, epsilon, seed) in missing else f"done,{spent},{delta},"
            key = f"{sum(map(ord, dataset + method)):012x}"
            lines.append(f"{dataset},{method},{key},{epsilon},{seed},runs/{method},{facts}{source}")
    return pd.read_csv(io.StringIO("\n".join(lines)), dtype={"key": str})


def metrics_of(runs, values):
    """Metrics from a function (method, ε, seed) -> {metric: value}."""
    rows = []
    for run in runs[runs["status"] == "done"].itertuples():
        for metric, value in values(run.method, run.epsilon, run.seed).items():
            place = (run.dataset, run.method, run.key, run.epsilon, run.seed)
            rows.append(("demo", *place, metric, value))
    names = ["experiment", "dataset", "method", "key", "epsilon", "seed", "metric", "value"]
    return pd.DataFrame(rows, columns=names)


CELLS = [("real", math.inf), ("pe", 10), ("pe", 1), ("sim-pe", 1), ("sim-pe", 10), ("random", 0)]
ACCURACY = {
    ("real", math.inf): 0.99,
    ("pe", 10): 0.812,
    ("pe", 1): 0.631,
    ("sim-pe", 1): 0.702,
    ("sim-pe", 10): 0.754,
    ("random", 0): 0.999,
}


def values(method, epsilon, seed):
    accuracy = ACCURACY[method, epsilon] - 0.01 * seed
    return {
        "accuracy_logistic": accuracy,
        "frechet_glyph-cnn": 40 * (1 - accuracy) + seed,
        "kernel_glyph-cnn": 0.004 * (1 - accuracy) - 1e-6,
        "precision_glyph-cnn": accuracy / 2,
    }


@pytest.fixture
def runs():
    return runs_of(CELLS)


@pytest.fixture
def table(runs):
    return reporting.summarise(metrics_of(runs, values), runs)


class TestSummarise:
    def test_has_exactly_the_promised_columns(self, table):
        metrics = ["accuracy_logistic", "frechet_glyph-cnn", "kernel_glyph-cnn"]
        expected = ["dataset", "method", "epsilon", "epsilon_spent", "delta", "seeds"]
        for metric in [*metrics, "precision_glyph-cnn"]:
            expected += [f"{metric}_mean", f"{metric}_sd"]
        assert list(table.columns) == expected

    def test_rows_are_random_then_methods_by_epsilon_then_real(self, table):
        assert list(zip(table["method"], table["epsilon"], strict=True)) == [
            ("random", 0),
            ("pe", 1),
            ("pe", 10),
            ("sim-pe", 1),
            ("sim-pe", 10),
            ("real", math.inf),
        ]

    def test_mean_and_sample_standard_deviation(self, table):
        row = table[(table["method"] == "pe") & (table["epsilon"] == 10)].iloc[0]
        drawn = [values("pe", 10, seed)["frechet_glyph-cnn"] for seed in (0, 1)]
        assert row["frechet_glyph-cnn_mean"] == pytest.approx(statistics.mean(drawn))
        assert row["frechet_glyph-cnn_sd"] == pytest.approx(statistics.stdev(drawn))
        assert row["seeds"] == 2

    def test_epsilon_spent_is_the_largest_over_seeds(self, table):
        spent = table.set_index(["method", "epsilon"])["epsilon_spent"]
        assert spent["pe", 10] == 10.0
        assert spent["random", 0] == 0
        assert math.isinf(spent["real", math.inf])
        delta = table.set_index("method")["delta"]
        assert math.isnan(delta["real"]) and delta["random"] == 0

    def test_sample_sizes_are_no_columns_of_any_table(self, runs, table):
        def with_sizes(*run):
            sizes = {"generated_glyph-cnn": 1000, "reference_glyph-cnn": 360}
            return {**sizes, **values(*run), "generated_my_pixels": 1000.0}

        sized = reporting.summarise(metrics_of(runs, with_sizes), runs)
        pd.testing.assert_frame_equal(sized, table)
        # What only looks like one is a metric.
        other = reporting.summarise(metrics_of(runs, lambda *_: {"generated": 5.0}), runs)
        assert list(other["generated_mean"]) == [5.0] * 6

    def test_a_missing_run_leaves_one_seed_and_no_deviation(self):
        runs = runs_of(CELLS, missing={("pe", 1, 0)})
        table = reporting.summarise(metrics_of(runs, values), runs)
        row = table[(table["method"] == "pe") & (table["epsilon"] == 1)].iloc[0]
        assert row["seeds"] == 1
        assert row["accuracy_logistic_mean"] == pytest.approx(0.621)
        assert math.isnan(row["accuracy_logistic_sd"])

    def test_nothing_done_yet_is_still_a_table(self):
        missing = {(*cell, seed) for cell in CELLS for seed in (0, 1)}
        runs = runs_of(CELLS, missing=missing)
        header = "experiment,dataset,method,key,epsilon,seed,metric,value\n"
        table = reporting.summarise(pd.read_csv(io.StringIO(header)), runs)
        assert list(table["seeds"]) == [0] * 6
        assert "| pe     | 10 |       – | – |" in reporting.table_markdown(table, [])
        assert ">&#8211;</td>" in reporting.table_html(table, [])

    def test_reading_the_csv_back_changes_nothing(self, table):
        again = pd.read_csv(io.StringIO(table.to_csv(index=False)))
        assert reporting.table_html(again, NOTES) == reporting.table_html(table, NOTES)

    def test_refuses_two_settings_under_one_name(self, runs):
        metrics = metrics_of(runs, values)
        runs.loc[(runs["method"] == "pe") & (runs["epsilon"] == 10), "key"] = "ffffffffffff"
        with pytest.raises(ValueError, match=r"method pe has several settings.*ffffffffffff"):
            reporting.summarise(metrics, runs)

    def test_the_same_method_may_have_another_key_on_another_data_set(self, runs):
        both = pd.concat([runs, runs_of(CELLS, dataset="mnist")])
        table = reporting.summarise(metrics_of(both, values), both)
        assert list(table["dataset"].unique()) == ["digits", "mnist"]
        assert len(table) == 12

    def test_refuses_a_metric_of_a_run_that_is_not_done(self, runs):
        metrics = metrics_of(runs, values)
        runs.loc[(runs["method"] == "pe") & (runs["seed"] == 1), "status"] = "missing"
        with pytest.raises(ValueError, match="not done: digits pe ε=10 seed 1"):
            reporting.summarise(metrics, runs)

    def test_refuses_a_metric_twice(self, runs):
        metrics = metrics_of(runs, values)
        with pytest.raises(ValueError, match="listed twice: dataset=digits"):
            reporting.summarise(pd.concat([metrics, metrics.tail(1)]), runs)


def markdown_rows(text):
    """The cells of every row of the first table, by the first two cells."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
    return cells[0], {(row[0], row[1]): row[2:] for row in cells[2:]}


class TestMarkdown:
    def test_prints_the_values(self, table):
        head, rows = markdown_rows(reporting.table_markdown(table, NOTES))
        assert head == [
            "method",
            "ε",
            "ε spent",
            "δ",
            "Accuracy logistic (%) ↑",
            "Fréchet ↓",
            "Kernel (10⁻³) ↓",
            "Precision ↑",
        ]
        # By hand: accuracy 0.754 and 0.744; Fréchet 9.84 and 11.24; kernel 0.983e-3 and 1.023e-3.
        assert rows["sim-pe", "10"] == [
            "10.00",
            "9.4×10⁻⁵",
            "74.9 ± 0.7",
            "10.54 ± 0.99",
            "1.003 ± 0.028",
            "0.37 ± 0.00",
        ]
        assert rows["random", "0"][:3] == ["0", "0", "99.4 ± 0.7"]
        assert rows["real", "∞"][:3] == ["∞", "–", "98.5 ± 0.7"]

    def test_the_best_method_of_each_epsilon_is_bold_and_no_bound_is(self, table):
        _, rows = markdown_rows(reporting.table_markdown(table, []))
        bold = {cell for cell, row in rows.items() for text in row if "**" in text}
        assert bold == {("sim-pe", "1"), ("pe", "10")}
        # Higher and lower are better: the winner is the same in all four metrics.
        assert all("**" in text for text in rows["pe", "10"][2:])

    def test_ties_by_the_printed_value_are_all_bold(self):
        runs = runs_of([("a", 1), ("b", 1), ("c", 1)], seeds=(0,))
        drawn = {"a": 0.70012, "b": 0.70048, "c": 0.6991}
        table = reporting.summarise(
            metrics_of(runs, lambda method, *_: {"accuracy_cnn": drawn[method]}), runs
        )
        _, rows = markdown_rows(reporting.table_markdown(table, []))
        assert [rows[m, "1"][-1] for m in "abc"] == ["**70.0**", "**70.0**", "69.9"]

    def test_an_unknown_metric_has_neither_arrow_nor_bold(self):
        runs = runs_of([("a", 1), ("b", 1)])
        table = reporting.summarise(
            metrics_of(runs, lambda method, *_: {"mystery_x": 1.0 + (method == "a")}), runs
        )
        text = reporting.table_markdown(table, [])
        assert "mystery_x |" in text and "**1" not in text and "**2" not in text

    def test_columns_line_up_as_plain_text(self, table):
        lines = reporting.table_markdown(table, []).splitlines()
        assert len({len(line) for line in lines if line.startswith("|")}) == 1

    def test_names_and_notes_are_escaped(self, table):
        table["method"] = table["method"].replace("pe", "p|e*_x")
        text = reporting.table_markdown(table, ["a <b> *c*"])
        assert r"| p\|e\*\_x " in text
        assert r"- a \<b\> \*c\*" in text

    def test_encoders_are_named_when_there_are_two(self):
        runs = runs_of([("a", 1)])
        metrics = {"frechet_pixels": 3.0, "frechet_glyph-cnn": 2.0, "fid": 9.0}
        table = reporting.summarise(metrics_of(runs, lambda *_: metrics), runs)
        head, _ = markdown_rows(reporting.table_markdown(table, []))
        assert head[4:] == ["Fréchet pixels ↓", "Fréchet glyph-cnn ↓", "FID ↓"]


# A group that is too wide for a panel of its own, and a metric without one.
WIDE = ["accuracy_logistic", "fid", "accuracy_cnn", "mystery"]
WIDE += ["recall_x", "frechet_x", "precision_x"]


def wide_table(epsilons):
    runs = runs_of([("random", 0), *(("pe", e) for e in epsilons), ("real", math.inf)])
    return reporting.summarise(
        metrics_of(
            runs,
            lambda _, epsilon, seed: {name: 0.5 + seed / 10 for name in WIDE},
        ),
        runs,
    )


def columns_of_latex_row(row):
    """First and last column and text of every cell of a row of a tabular, counted from 1."""
    start, cells = 1, []
    for cell in row.removesuffix(r" \\").split(" & "):
        span = re.match(r"\\multicolumn\{(\d+)\}", cell)
        end = start + (int(span[1]) if span else 1)
        cells.append((start, end - 1, cell))
        start = end
    return cells


class TestLatex:
    @pytest.mark.parametrize("epsilons", [(), (1,), (1, 10), (0.1, 1, 2, 5, 10)])
    def test_every_row_fills_its_columns(self, epsilons):
        text = reporting.table_latex(wide_table(epsilons), NOTES)
        panels = re.findall(
            r"\\begin\{tabular\*\}.*?\}\}l(r+)@\{\}\}\n(.*?)\\end\{tabular\*\}", text, flags=re.S
        )
        assert panels
        for columns, body in panels:
            assert len(columns) <= PANEL_COLUMNS
            rows = [line for line in body.splitlines() if line.endswith(r" \\")]
            assert {columns_of_latex_row(row)[-1][1] for row in rows} == {len(columns) + 1}
            # Every rule lies exactly under a heading and over another.
            lines = body.splitlines()
            for above, line, below in zip(lines, lines[1:], lines[2:], strict=False):
                rules = re.findall(r"\\cmidrule\(lr\)\{(\d+)-(\d+)\}", line)
                rules = {(int(first), int(last)) for first, last in rules}
                headed = {(a, b) for a, b, text in columns_of_latex_row(above)[1:] if text}
                heading = {a for a, _, text in columns_of_latex_row(below) if text}
                assert rules <= headed and {first for first, _ in rules} <= heading

    def test_braces_dollars_and_environments_are_balanced(self, table):
        table["method"] = table["method"].replace("pe", r"a_b&c%d$e#f{g}h~i^j\k[l]")
        text = reporting.table_latex(table, NOTES)
        bare = re.sub(r"\\[&%$#_{}]", "", text)
        assert bare.count("{") == bare.count("}")
        assert bare.count("$") % 2 == 0
        assert "#" not in bare and "~" not in bare
        # The comment on the first line is the only bare per cent sign.
        assert bare.count("%") == 1
        depth = []
        for verb, name in re.findall(r"\\(begin|end)\{(.*?)\}", bare):
            depth.append(name) if verb == "begin" else None
            assert verb == "begin" or depth.pop() == name
        assert not depth

    def test_special_characters_are_escaped(self, table):
        table["method"] = table["method"].replace("pe", r"a_b&c%d$e#f{g}h~i^j\k")
        expected = (
            r"a\_b\&c\%d\$e\#f\{g\}h\textasciitilde{}i\textasciicircum{}j\textbackslash{}k & "
        )
        assert expected in reporting.table_latex(table, [])

    def test_only_letters_that_plain_latex_knows_remain(self, table):
        text = reporting.table_latex(table, [*NOTES, "中 é"])
        assert all(c.isascii() or "À" <= c <= "ſ" for c in text)
        assert "(U+4E2D) é" in text
        assert r"$\delta$ = 10$^{-5}$: 100 \% of a\_b $<$c$>$." in text

    def test_bounds_span_every_epsilon_between_rules(self, table):
        lines = reporting.table_latex(table, []).splitlines()
        at = next(i for i, line in enumerate(lines) if line.startswith("random"))
        assert r"random ($\varepsilon$ = 0) & \multicolumn{2}{c}{0} & 0 &" in lines[at]
        assert lines[at - 1] == lines[at + 1] == r"\midrule"
        at = next(i for i, line in enumerate(lines) if line.startswith("real"))
        assert lines[at - 1] == r"\midrule" and lines[at + 1] == r"\bottomrule"


class TableParser(HTMLParser):
    """Tables as lists of rows of (tag, attributes, text); checks that tags are balanced."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.open, self.captions = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append([tag, dict(attributes), ""])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "caption" in self.open:
            self.captions.append(data)
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1][2] += data


def grid_of(rows):
    """Lay cells out by the HTML table model; every slot must be filled exactly once."""
    taken = {}
    for y, row in enumerate(rows):
        x = 0
        for _, attributes, text in row:
            while (y, x) in taken:
                x += 1
            for down in range(int(attributes.get("rowspan", 1))):
                for across in range(int(attributes.get("colspan", 1))):
                    assert (y + down, x + across) not in taken
                    taken[y + down, x + across] = text
    height, width = (max(place[i] for place in taken) + 1 for i in (0, 1))
    assert len(taken) == height * width
    return [[taken[y, x] for x in range(width)] for y in range(height)]


class TestHtml:
    @pytest.mark.parametrize("epsilons", [(), (1,), (1, 10), (0.1, 1, 2, 5, 10)])
    def test_every_table_is_a_full_grid(self, epsilons):
        parser = TableParser(reporting.table_html(wide_table(epsilons), NOTES))
        for rows in parser.tables:
            grid = grid_of(rows)
            assert len(grid[0]) <= PANEL_COLUMNS + 1
            assert all(a["scope"] for row in rows for tag, a, _ in row if tag == "th")
        columns = sum(len(grid_of(rows)[0]) - 1 for rows in parser.tables)
        # ε spent and seven metrics for each ε, and one column for δ.
        assert columns == 8 * max(len(epsilons), 1) + 1

    def test_metrics_of_one_group_stand_together(self):
        (first, *_) = TableParser(reporting.table_html(wide_table((1, 10)), [])).tables
        spans = [(text, attributes.get("colspan")) for _, attributes, text in first[0]]
        assert spans == [
            ("", None),
            ("Privacy", "3"),
            ("Accuracy (%)", "4"),
            ("Features of Inception", "2"),
        ]

    def test_a_value_stands_under_its_metric_and_epsilon(self, table):
        parser = TableParser(reporting.table_html(table, []))
        grid = grid_of(parser.tables[0])
        heads = list(zip(*grid[:3], strict=True))
        at = heads.index(("Accuracy (%)", "logistic ↑", "ε = 10"))
        column = {row[0]: row[at] for row in grid[3:]}
        assert column == {
            "random (ε = 0)": "99.4 ± 0.7",
            "pe": "80.7 ± 0.7",
            "sim-pe": "74.9 ± 0.7",
            "real (ε = ∞)": "98.5 ± 0.7",
        }

    def test_best_is_strong(self, table):
        text = reporting.table_html(table, [])
        assert "<strong>80.7</strong> <small>&#177; 0.7</small>" in text
        assert "<strong>99.4" not in text and "<strong>98.5" not in text

    def test_is_ascii_and_escaped(self, table):
        table["method"] = table["method"].replace("pe", "<script>")
        text = reporting.table_html(table.assign(dataset='"<d>"'), ["<i>"])
        assert text.isascii()
        assert "<script>" not in text and "<d>" not in text and "<i>" not in text
        assert "&lt;script&gt;" in text and "<li>&lt;i&gt;</li>" in text

    def test_every_panel_has_a_caption_of_its_own(self):
        parser = TableParser(reporting.table_html(wide_table((0.1, 1, 2, 5, 10)), []))
        captions = [c for c in parser.captions if c != "digits."]
        assert len(set(captions)) == len(captions) == len(parser.tables)

    def test_delta_has_a_column_for_each_epsilon_if_it_differs(self, table):
        table.loc[(table["method"] == "pe") & (table["epsilon"] == 10), "delta"] = 1e-6
        rows = grid_of(TableParser(reporting.table_html(table, [])).tables[0])
        assert rows[1].count("δ") == 2
        assert [text for head, text in zip(rows[1], rows[4], strict=True) if head == "δ"] == [
            "9.4×10⁻⁵",
            "1.0×10⁻⁶",
        ]


class TestDistances:
    @pytest.mark.parametrize(
        "means, printed",
        [
            ([12.345, 9.876], ["12.35", "9.88"]),
            ([1234.6, 987.6], ["1235", "988"]),
            ([0.0123, 0.0456], ["12.3", "45.6"]),
            ([-1e-7, 0.0456], ["0.00", "45.60"]),
            ([-0.02, 0.3], ["−0.0200", "0.3000"]),
            ([56028.7, 112980.2], ["56.0", "113.0"]),
            ([9990.4, 12345.6], ["9.99", "12.35"]),
            ([2.5e6, 7.5e6], ["2.50", "7.50"]),
        ],
    )
    def test_distances_share_their_decimals(self, means, printed):
        runs = runs_of([("a", 1), ("b", 1)], seeds=(0,))
        drawn = dict(zip("ab", means, strict=True))
        table = reporting.summarise(
            metrics_of(runs, lambda method, *_: {"kernel_x": drawn[method]}), runs
        )
        _, rows = markdown_rows(reporting.table_markdown(table, []))
        assert [rows[m, "1"][-1].strip("*") for m in "ab"] == printed

    def test_the_unit_is_that_of_the_methods_whatever_the_bounds_are(self):
        drawn = {"random": 9e6, "pe": 56028.7, "real": -478.4}
        runs = runs_of([("random", 0), ("pe", 1), ("real", math.inf)], seeds=(0,))
        metrics = metrics_of(runs, lambda method, *_: {"kernel_x": drawn[method]})
        table = reporting.summarise(metrics, runs)
        head, rows = markdown_rows(reporting.table_markdown(table, []))
        assert head[-1] == "Kernel (10³) ↓"
        shown = [rows[cell][-1] for cell in (("random", "0"), ("pe", "1"), ("real", "∞"))]
        assert shown == ["9000.0", "**56.0**", "−0.5"]
        assert r"Kernel (10$^{3}$) $\downarrow$" in reporting.table_latex(table, [])
        # The data stay as they are.
        assert list(table["kernel_x_mean"]) == [9e6, 56028.7, -478.4]


def sizes(method, *_):
    return {
        "frechet_my_cnn": 1.0,
        "generated_my_cnn": 1437.0 if method == "real" else 1000.0,
        "reference_my_cnn": 360.0,
    }


TOTALS = {
    "digits": {
        "runs": 10,
        "releases": 48,
        "epsilon": 21.4,
        "delta": 1e-5,
        "ever": {"releases": 60, "epsilon": 24.0},
    }
}


def notes_of(runs, metrics):
    return reporting.footnotes(runs, metrics, TOTALS)


class TestFootnotes:
    def test_what_publishing_everything_costs(self, runs):
        text = "\n".join(notes_of(runs, metrics_of(runs, values)))
        assert (
            "Publishing all 10 runs on digits together (48 releases) spends ε = 21.40 at δ = "
            "1.0×10⁻⁵; "
            "all 60 releases ever drawn from digits cost ε = 24.00."
        ) in text
        # Where nothing was released there is nothing to add up.
        none = {"digits": {**TOTALS["digits"], "releases": 0}}
        assert "Publishing" not in "\n".join(
            reporting.footnotes(runs, metrics_of(runs, values), none)
        )

    def test_plain_experiment(self, runs):
        notes = notes_of(runs, metrics_of(runs, values))
        text = "\n".join(notes)
        assert notes[0] == "Mean ± sample standard deviation over 2 seeds."
        assert "zero-out of one record, N public (numerically add-or-remove-one)" in text
        assert "not DP outputs" in text
        assert "features of glyph-cnn" in text and "not FID" in text
        assert "seed." not in text and "Missing" not in text

    def test_one_seed(self):
        runs = runs_of(CELLS, seeds=(3,))
        assert notes_of(runs, metrics_of(runs, values))[0].startswith("One seed")

    def test_disclosed_noise_comes_first(self, runs):
        runs.loc[runs["method"] == "pe", "noise_source"] = "seeded"
        note = notes_of(runs, metrics_of(runs, values))[0]
        assert note.startswith("Not for release: 4 of 8 runs with privacy noise (pe)")
        assert "no privacy guarantee" in note

    def test_missing_runs_are_named(self):
        runs = runs_of(CELLS, missing={("pe", 1, 0), ("real", math.inf, 1)})
        notes = notes_of(runs, metrics_of(runs, values))
        expected = "(2 of 12): digits real ε=∞ seed 1; digits pe ε=1 seed 0."
        assert notes[0].endswith(expected)

    def test_fid_alone_is_fid(self, runs):
        notes = notes_of(runs, metrics_of(runs, lambda *_: {"fid": 3.0}))
        assert not any("not FID" in note for note in notes)

    def test_sample_sizes_are_said_once_if_they_are_the_same_everywhere(self):
        runs = pd.concat([runs_of(CELLS), runs_of(CELLS, dataset="mnist")])
        notes = notes_of(runs, metrics_of(runs, sizes))
        assert [note for note in notes if "Fidelity" in note] == [
            "Fidelity in the features of my_cnn compares 1000 generated images (real: 1437) "
            "with 360 real test images."
        ]

    def test_sample_sizes_are_said_for_each_data_set_if_they_differ(self):
        runs = pd.concat([runs_of(CELLS), runs_of(CELLS, dataset="mnist")])
        metrics = metrics_of(runs, sizes)
        reference = (metrics["dataset"] == "mnist") & (metrics["metric"] == "reference_my_cnn")
        metrics.loc[reference, "value"] = 10000.0
        # A pool that is too small at one ε, and a method with a size of its own.
        generated = metrics["metric"] == "generated_my_cnn"
        at = (metrics["dataset"] == "digits") & (metrics["method"] == "pe")
        metrics.loc[generated & at & (metrics["epsilon"] == 10), "value"] = 62.0
        metrics.loc[generated & (metrics["method"] == "random"), "value"] = 500.0
        said = [note for note in notes_of(runs, metrics) if "Fidelity" in note]
        start = "Fidelity in the features of my_cnn compares 1000 generated images"
        assert said == [
            f"digits: {start} (real: 1437, pe: 62 or 1000, random: 500) with 360 real test images.",
            f"mnist: {start} (real: 1437, random: 500) with 10000 real test images.",
        ]

    def test_sample_sizes_of_real_alone(self):
        runs = runs_of([("real", math.inf)])
        text = "\n".join(notes_of(runs, metrics_of(runs, sizes)))
        assert "compares 1437 images with 360 real test images." in text

    def test_sample_sizes_are_those_of_the_methods_whatever_real_has(self):
        runs = runs_of([("pe", 1), ("real", math.inf)])
        metrics = metrics_of(runs, sizes)
        metrics["value"] = metrics["value"].replace(1437.0, 62.0)
        text = "\n".join(notes_of(runs, metrics))
        assert "compares 1000 generated images (real: 62) with" in text

    @pytest.mark.parametrize("value, said", [(-478.0, True), (478.0, False)])
    def test_a_negative_kernel_distance_is_explained(self, runs, value, said):
        metrics = metrics_of(runs, lambda *_: {"kernel_x": value, "mystery": -1.0})
        assert any("below zero" in note for note in notes_of(runs, metrics)) == said

    def test_without_metrics_nothing_is_said_of_fidelity(self, runs):
        metrics = metrics_of(runs, values)[:0]
        assert not any("features" in note for note in notes_of(runs, metrics))
