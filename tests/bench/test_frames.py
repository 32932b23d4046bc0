import unittest

import frames
import hostilely
from frames import Reader, block, error, frame, request, settings, window
from hostile import ATTACKS


class Frames(unittest.TestCase):
    def test_a_frame_is_length_kind_flags_stream_and_payload(self):
        self.assertEqual(frame(frames.PING, frames.ACK, 0, b"12345678"), b"\0\0\x08\x06\x01\0\0\0\0" + b"12345678")
        self.assertEqual(window(5, 1), b"\0\0\x04\x08\0\0\0\0\x05\0\0\0\x01")
        self.assertEqual(settings(), b"\0\0\0\x04\0\0\0\0\0")
        self.assertEqual(settings(window=0)[9:], b"\0\x04\0\0\0\0")

    def test_a_header_block_is_of_literals(self):
        self.assertEqual(block({"a": "bc"}), b"\0\x01a\x02bc")
        # RFC 7541 §5.1: 127 and what is beyond it, seven bits at a time.
        self.assertEqual(block({"a": "x" * 126})[3:4], b"\x7e")
        self.assertEqual(block({"a": "x" * 127})[3:5], b"\x7f\0")
        self.assertEqual(block({"a": "x" * 1337})[3:6], b"\x7f\xba\x09")

    def test_frames_are_read_however_they_arrive(self):
        sent = request(1, b"head") + frame(frames.DATA, frames.END_STREAM, 1, b"body")
        wanted = [(frames.HEADERS, 5, 1, b"head"), (frames.DATA, 1, 1, b"body")]
        self.assertEqual(list(Reader().frames(sent)), wanted)
        reader = Reader()
        self.assertEqual([it for at in range(len(sent)) for it in reader.frames(sent[at : at + 1])], wanted)

    def test_errors_have_names(self):
        self.assertEqual(error(frames.RST_STREAM, b"\0\0\0\x08"), "CANCEL")
        self.assertEqual(error(frames.GOAWAY, b"\0\0\0\x01\0\0\0\x0btoo many"), "ENHANCE_YOUR_CALM")
        self.assertEqual(error(frames.RST_STREAM, b"\0\0\x01\0"), "256")


class Attacks(unittest.TestCase):
    def test_what_each_attack_is_to_be_answered_with_is_known(self):
        self.assertEqual(ATTACKS.keys(), hostilely.SHOWN_OUT.keys())
        self.assertLessEqual(set(hostilely.SHOWN_OUT.values()), {"", *frames.ERRORS})
