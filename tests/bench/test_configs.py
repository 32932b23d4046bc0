"""What the subjects are given: the same call, the same key, grants that are copies of a real one."""

import json
import sys
import unittest
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "clients"))

import configs  # noqa: E402
import planting  # noqa: E402

# `openssl ec -pubout` of a key made for this.
JWK = {
    "kty": "EC",
    "crv": "P-256",
    "x": "84PXGOH7LypGdjFBhadKxoHs3hFIsRCh9DTHTlD3MPA",
    "y": "r0I5B65Imn1jgl-3DTjdTMw5aCgdMmA7Meo0pS8Vsrs",
}
PEM = """\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE84PXGOH7LypGdjFBhadKxoHs3hFI
sRCh9DTHTlD3MPCvQjkHrkiafWOCX7cNON1MzDloKB0yYDsx6jSlLxWyuw==
-----END PUBLIC KEY-----
"""
RECORD = b'\x01{"exp":1800086400,"value":{"id":"BwcHBwcHBwcHBwcHBwcHBw","client":"portcullis-cli",' + (
    b'"facts":{"user":{"subject":"github:583231","login":"octocat"}},"created":1800000000,"state":{"kind":"issued"}}}'
)


class Configs(unittest.TestCase):
    def test_an_answer_is_200_bytes_of_json(self):
        self.assertEqual(len(configs.ANSWER.encode()), 200)
        self.assertEqual(json.loads(configs.ANSWER)["id"], json.loads(configs.CALL)["id"])
        # In nginx's configuration it stands between single quotes, where a dollar sign would be a variable.
        self.assertFalse(set("'$\\") & set(configs.ANSWER))

    def test_a_key_of_jwks_is_openssls_pem(self):
        self.assertEqual(configs.public_key_pem(JWK), PEM)

    def test_another_key_is_refused(self):
        for other in [{**JWK, "crv": "P-384"}, {**JWK, "kty": "RSA"}, {**JWK, "x": "AAAA"}, {}]:
            with self.assertRaises(ValueError):
                configs.public_key_pem(other)

    def test_there_are_as_many_services_as_asked_for_and_one_is_measured(self):
        for apart in [True, False]:
            for count in [1, 2, 20]:
                made = configs.services(443, count, apart)
                self.assertEqual(len(made), count)
                self.assertEqual(len(set(made.values())), count)
                self.assertIn("mcp", made)

    def test_on_one_host_the_measured_path_is_no_longer_than_the_others_and_the_last(self):
        made = configs.services(443, 100, apart=False)
        self.assertEqual(len({len(url) for url in made.values()}), 1)
        self.assertEqual(max(made.values()), made["mcp"])
        self.assertEqual({url.split("/")[2] for url in made.values()}, {f"{configs.HOST}:443"})


class Planting(unittest.TestCase):
    def test_a_command_is_an_array_of_bulk_strings(self):
        self.assertEqual(planting.command("SET", b"k\r\n", 7), b"*3\r\n$3\r\nSET\r\n$3\r\nk\r\n\r\n$1\r\n7\r\n")

    def test_a_copy_differs_in_its_id_and_its_user_alone(self):
        pattern = planting.Pattern.read(RECORD, 5000)
        written, hinted = pattern.copy(8, bytes([9] * 15 + [33]))
        _, name, raw, px, life = words(written)
        # 33 is shard 1 of 32.
        self.assertEqual(name, b"pc:{g01}:grant:CQkJCQkJCQkJCQkJCQkJIQ")
        self.assertEqual((px, life, raw[:1]), (b"PX", b"5000", b"\x01"))
        wanted = json.loads(RECORD[1:])
        wanted["value"]["id"] = "CQkJCQkJCQkJCQkJCQkJIQ"
        wanted["value"]["facts"]["user"] = {"subject": "github:1000000008", "login": "user8"}
        self.assertEqual(json.loads(raw[1:]), wanted)
        self.assertEqual(words(hinted)[-1], b"CQkJCQkJCQkJCQkJCQkJIQ")

    def test_the_index_by_user_is_named_as_the_store_names_it(self):
        # As in src/store/schema/tests.rs: the digest of github:583231.
        name = planting.index_of("github:583231")
        self.assertEqual(name, "pc:grants-of-user:T8xoK0yOVleX3HPfpiIF9zHJpo-9px7B-fhvX-YFG58")

    def test_batches_are_everything_once(self):
        for number in [0, 1, planting.BATCH - 1, planting.BATCH, planting.BATCH + 1, 3 * planting.BATCH]:
            together = [n for batch in planting.batches(number) for n in batch]
            self.assertEqual(together, list(range(number)))


def words(command: bytes) -> list[bytes]:
    """The words of a command that have no line breaks in them."""
    return command.split(b"\r\n")[2::2]


if __name__ == "__main__":
    unittest.main()
