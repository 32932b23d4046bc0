"""The arithmetic: `python3 -m unittest discover tests/bench`. Nothing is started and nothing is timed."""

import unittest

import figures
from figures import Request, Unreadable

# As h2load 1.52 (nghttp2) prints it.
REPORT = """\
starting benchmark...
spawning thread #0: 32 total client(s). 12000 total requests
TLS Protocol: TLSv1.3
Cipher: TLS_AES_128_GCM_SHA256
Server Temp Key: X25519 253 bits
Application protocol: http/1.1
progress: 10% done
progress: 100% done

finished in 1.02s, 11788.35 req/s, 3.41MB/s
requests: 12000 total, 12000 started, 12000 done, 12000 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 12000 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 3.47MB (3636000) total, 1.06MB (1116000) headers (space savings 0.00%), 2.29MB (2400000) data
                     min         max         mean         sd        +/- sd
time for request:      312us     14.91ms      2.61ms      1.02ms    76.84%
"""
# The name has a bracket and a space in it, as a process may call itself.
STAT = (
    "4711 (a) b (c) S 4242 4711 4711 0 -1 4194560 9 0 0 0 150 27 999 888 20 0 3 0 123456 1000 200 18446744073709551615 "
    "1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0"
)
ROLLUP = """\
55b65b898000-7ffd54442000 ---p 00000000 00:00 0                          [rollup]
Rss:               14312 kB
Pss:                9265 kB
Pss_Dirty:           116 kB
Pss_Anon:            116 kB
"""


class Arithmetic(unittest.TestCase):
    def test_ticks_become_microseconds_of_one_request(self):
        self.assertEqual(figures.microseconds_each(100, 100, 50_000), 20.0)
        self.assertEqual(figures.microseconds_each(1, 100, 1), 10_000.0)
        self.assertAlmostEqual(figures.microseconds_each(197, 100, 100_000), 19.7)
        self.assertEqual(figures.microseconds_each(0, 100, 7), 0.0)
        self.assertEqual(figures.microseconds_each(100, 1000, 10), 10_000.0)

    def test_nothing_answered_is_no_cpu_of_a_request(self):
        for count in [0, -1]:
            with self.assertRaises(ValueError):
                figures.microseconds_each(10, 100, count)
            with self.assertRaises(ValueError):
                figures.kilobytes_each(10, 20, count)

    def test_memory_of_one_is_the_growth_over_their_number(self):
        self.assertEqual(figures.kilobytes_each(10_000, 35_600, 1000), 25.6)
        self.assertEqual(figures.kilobytes_each(10_000, 9_000, 1000), -1.0)

    def test_the_median_is_the_middle_one_or_between_the_two(self):
        self.assertEqual(figures.median([3, 1, 2]), 2)
        self.assertEqual(figures.median([4, 1, 2, 3]), 2.5)
        self.assertEqual(figures.median([7]), 7)
        self.assertEqual(figures.median([1, 1, 1000]), 1)
        with self.assertRaises(ValueError):
            figures.median([])

    def test_percentiles_are_nearest_rank(self):
        hundred = list(range(100, 0, -1))
        self.assertEqual(figures.percentile(hundred, 50), 50)
        self.assertEqual(figures.percentile(hundred, 99), 99)
        self.assertEqual(figures.percentile(hundred, 100), 100)
        self.assertEqual(figures.percentile([5, 9], 50), 5)
        self.assertEqual(figures.percentile([5, 9], 99), 9)
        self.assertEqual(figures.percentile([5], 1), 5)
        self.assertEqual(figures.percentile(range(1, 201), 99), 198)
        with self.assertRaises(ValueError):
            figures.percentile([], 50)

    def test_a_ratio_is_of_the_same_round(self):
        self.assertEqual(figures.ratios([10, 30], [20, 20]), [0.5, 1.5])
        self.assertEqual(figures.ratios([], []), [])
        with self.assertRaises(ValueError):
            figures.ratios([1, 2], [1])

    def test_every_subject_is_first_once(self):
        orders = [figures.rotated(["a", "b", "c"], at) for at in range(4)]
        self.assertEqual(orders, [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]])
        self.assertEqual(figures.rotated([], 3), [])

    def test_a_schedule_has_its_rate_and_is_the_same_again(self):
        moments = figures.schedule(1000, 10, seed=7)
        self.assertEqual(moments, figures.schedule(1000, 10, seed=7))
        self.assertNotEqual(moments, figures.schedule(1000, 10, seed=8))
        self.assertEqual(moments, sorted(moments))
        self.assertTrue(0 <= moments[0] and moments[-1] < 10)
        # Three standard deviations of a Poisson process of 10,000.
        self.assertLess(abs(len(moments) - 10_000), 300)
        self.assertEqual(figures.schedule(0.001, 0.001, seed=1), [0.0], "h2load wants one request at least")


class Kernel(unittest.TestCase):
    def test_a_name_with_brackets_does_not_shift_the_fields(self):
        self.assertEqual(figures.cpu_ticks(STAT), 177)
        self.assertEqual(figures.parent_of(STAT), 4242)
        self.assertEqual(figures.born(STAT), 123456)

    def test_memory_is_rss_and_pss(self):
        self.assertEqual(figures.memory(ROLLUP), (14312, 9265))
        with self.assertRaises(Unreadable):
            figures.memory("")
        with self.assertRaises(Unreadable):
            figures.memory("Rss: 12 kB\n")


class H2load(unittest.TestCase):
    def test_a_clean_report_is_read(self):
        load = figures.load(REPORT)
        self.assertEqual((load.rate, load.total, load.ok), (11788.35, 12000, 12000))
        self.assertTrue(load.clean)

    def test_every_length_of_time_is_read(self):
        for took in ["312us", "20.31ms", "1.02s", "2m", "1.5h"]:
            self.assertEqual(figures.load(REPORT.replace("1.02s", took)).rate, 11788.35, took)

    def test_anything_but_answers_with_2xx_is_not_clean(self):
        for clean, dirty in [
            ("status codes: 12000 2xx, 0 3xx, 0 4xx, 0 5xx", "status codes: 11999 2xx, 0 3xx, 0 4xx, 1 5xx"),
            ("12000 succeeded, 0 failed", "11999 succeeded, 1 failed"),
            ("0 errored", "1 errored"),
            ("0 timeout", "1 timeout"),
            ("12000 total, 12000 started", "12001 total, 12000 started"),
        ]:
            self.assertIn(clean, REPORT)
            self.assertFalse(figures.load(REPORT.replace(clean, dirty)).clean, dirty)

    def test_what_is_no_report_is_refused_with_its_end(self):
        for broken in ["", "Unable to connect", REPORT.replace("status codes", "codes"), REPORT[:200]]:
            with self.assertRaises(Unreadable):
                figures.load(broken)
        with self.assertRaisesRegex(Unreadable, "Unable to connect"):
            figures.load("Unable to connect")

    def test_a_log_has_a_line_a_request(self):
        log = "1700000000000000\t200\t312\n1700000000000400\t401\t95\t7\n1700000000000500\t-1\t0\n"
        self.assertEqual(
            figures.requests(log),
            [
                Request(1700000000000000, 200, 312),
                Request(1700000000000400, 401, 95),
                Request(1700000000000500, -1, 0),
            ],
        )
        self.assertEqual(figures.requests(""), [])

    def test_the_first_tenth_is_left_out_whatever_the_order_of_the_lines(self):
        lines = [Request(1_000_000 + at * 1000, 200, at) for at in range(101)]
        self.assertEqual(sorted(figures.settled(list(reversed(lines)))), list(range(10, 101)))
        self.assertEqual(figures.settled([Request(5, 200, 9)]), [9])

    def test_the_rate_is_what_was_sent(self):
        self.assertEqual(figures.rate([Request(at * 1000, 200, 1) for at in range(101)]), 1000.0)
        self.assertEqual(figures.rate([Request(at * 1000, 200, 1) for at in range(100, -1, -1)]), 1000.0)
        with self.assertRaises(ValueError):
            figures.rate([Request(7, 200, 1)])


if __name__ == "__main__":
    unittest.main()
