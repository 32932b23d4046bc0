"""Figures against goals: what counts as met, and what stands in the tables."""

import unittest

import report
from report import Goal, Record, goal_table, judged


def record(**measures: dict[str, list[float]]) -> Record:
    """A record of some measures; `__` stands for the point in their names."""
    made = Record()
    for measure, subjects in measures.items():
        for subject, values in subjects.items():
            for value in values:
                made.add(measure.replace("__", "."), "µs", subject, value)
    return made


def verdict(text: str, made: Record) -> tuple[float | None, bool | None]:
    """Figure and verdict of the one goal whose text begins so."""
    found = [goal for goal in judged(made) if goal["goal"].startswith(text)]
    assert len(found) == 1, (text, found)
    return found[0]["figure"], found[0]["met"]


class Goals(unittest.TestCase):
    def test_nothing_measured_is_neither_met_nor_missed(self):
        goals = judged(Record())
        self.assertEqual({goal["met"] for goal in goals}, {None})
        self.assertEqual({row[3] for row in goal_table(goals)[1:]}, {"not measured"})

    def test_a_ratio_is_the_median_of_the_rounds_ratios(self):
        # The median of each side would give 20 / 10: the machine was slow in two of the rounds, for both.
        made = record(cpu__h1={"portcullis": [9, 20, 40], "nginx": [10, 10, 50]})
        self.assertEqual(verdict("CPU per authenticated request, HTTP/1.1, over nginx", made), (0.9, True))

    def test_a_round_that_one_of_both_has_not_finished_does_not_count(self):
        made = record(cpu__h1={"portcullis": [10, 20], "nginx": [20]})
        self.assertEqual(verdict("CPU per authenticated request, HTTP/1.1, over nginx", made), (0.5, True))

    def test_a_limit_is_met_by_itself_and_missed_above(self):
        text = "CPU per authenticated request, HTTP/2, over nginx"
        self.assertEqual(verdict(text, record(cpu__h2={"portcullis": [10], "nginx": [10]})), (1.0, True))
        self.assertEqual(verdict(text, record(cpu__h2={"portcullis": [10.1], "nginx": [10]}))[1], False)
        self.assertEqual(
            verdict("CPU per authenticated request, HTTP/2, over HAProxy",
                    record(cpu__h2={"portcullis": [31], "haproxy": [100]})),
            (0.31, False),
        )  # fmt: skip

    def test_a_stream_is_judged_where_most_were_open(self):
        made = record(
            stream__rss__1000={"portcullis": [30], "haproxy": [20]},
            stream__rss__5000={"portcullis": [19], "haproxy": [19]},
        )
        self.assertEqual(made.largest("stream.rss"), "stream.rss.5000")
        self.assertEqual(verdict("memory per open authenticated stream, over HAProxy", made), (1.0, False))
        self.assertEqual(verdict("memory per open authenticated stream (RSS)", made), (19, True))

    def test_equal_within_five_per_cent_is_so_in_both_directions(self):
        text = "request with many live grants over ten (Redis)"
        for many, met in [(100, True), (105, True), (95, True), (106, False), (94, False)]:
            made = record(scale={"grants.many": [many], "grants.few": [100]})
            self.assertEqual(verdict(text, made)[1], met, many)

    def test_every_goal_of_the_issue_is_there(self):
        self.assertEqual(len(report.GOALS), 18)
        self.assertEqual(len({goal.text for goal in report.GOALS}), 18)


class Tables(unittest.TestCase):
    def test_a_unit_does_not_change_within_a_measure(self):
        made = record(cpu__h1={"portcullis": [1]})
        with self.assertRaises(ValueError):
            made.add("cpu.h1", "ms", "portcullis", 1)

    def test_figures_have_three_digits_that_matter(self):
        for value, text in [(0.973, "0.97"), (19.74, "19.7"), (1234.5, "1,234"), (-279.2, "-279"), (None, "–")]:
            self.assertEqual(report.number(value), text)
        self.assertEqual(report.spread([3, 1, 2]), "2.00 (1.00 to 3.00)")
        self.assertEqual((report.spread([3]), report.spread([])), ("3.00", "–"))

    def test_what_a_subject_lacks_is_left_open(self):
        made = record(cpu__h1={"portcullis": [10, 12], "nginx": [20, 24]})
        head, row = report.figure_table(made)
        self.assertEqual(head[2:], ["Portcullis", "nginx", "HAProxy", "Caddy", "÷ nginx", "÷ HAProxy"])
        self.assertEqual(row[0], "CPU per request, HTTP/1.1")
        self.assertEqual(row[4:], ["–", "–", "0.50", "–"])

    def test_what_was_nothing_at_all_is_no_divisor(self):
        made = record(cpu__h1={"portcullis": [10], "nginx": [0]})
        self.assertEqual(report.figure_table(made)[1][-2:], ["–", "–"])

    def test_the_page_says_where_and_when_and_what_is_not_met(self):
        made = record(cpu__h1={"portcullis": [30], "nginx": [20]})
        about = {
            "date": "2026-11-21",
            "machine": {"cpu": "A CPU", "cores": "2", "memory": "24 MB", "kernel": "6.1", "system": "Debian"},
            "versions": {"portcullis": "1", "nginx": "2"},
            "settings": {"rounds": 5, "threads": 2},
        }
        page = report.page(made, about, "A method.")
        for told in ["2026-11-21, A CPU, 2 cores", "nginx 2", "rounds: 5", "1.50 × (1.50 to 1.50) | **not met** |", "A method."]:
            self.assertIn(told, page)
        self.assertEqual(report.document(made, about)["measures"]["cpu.h1"]["subjects"]["nginx"], [20])

    def test_every_measure_has_words(self):
        for measure, words in [
            ("stream.rss.5000", "RSS per stream, 5,000 open"),
            ("latency.h2.p99", "added latency p99, HTTP/2"),
            ("latency.h1.p50.direct", "direct p50 at that rate, HTTP/1.1"),
            ("latency.h1.rate", "rate at half load, HTTP/1.1"),
        ]:
            self.assertEqual(report.title(measure), words)


class AGoal(unittest.TestCase):
    def test_tells_the_rounds_it_came_from(self):
        goal = Goal("g", "≤ 2", "ms", lambda record: [3, 1, 2], lambda figure: figure <= 2)
        told = goal.judge(Record())
        self.assertEqual((told["figure"], told["least"], told["most"], told["met"]), (2, 1, 3, True))


if __name__ == "__main__":
    unittest.main()
