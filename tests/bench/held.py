"""The siege by streams: thousands of readers, tokens refreshed and revoked under them, and the memory before, during and after."""

import time
from dataclasses import dataclass
from typing import Any

import figures
from attacker import Attacker
from harness import expect
from stage import Signed, Stage

# A revoked grant's streams are cut within 2 s (R14). A reader sees it at once; the reader's own clock may be behind its work.
CUT = 2.0
# After how many seconds what is left of them is read.
AFTER = (10, 60)


@dataclass(frozen=True)
class Plan:
    """How many, of how many users, for how long, and how many of those are revoked."""

    streams: int
    users: int
    revoked: int
    seconds: float
    after: tuple[int, ...] = AFTER


def _plan(stage: Stage, plan: Plan, users: list[Signed]) -> dict[str, Any]:
    where = {"port": stage.subject.port, "authority": stage.authority, "path": "/events", "ca": str(stage.rig.certificate)}
    return {**where, "streams": plan.streams, "tokens": [user.access for user in users]}


# Everything that is done, done once by a few: the kernel brings the program's own code into memory as it is used, and counts it
# as the process's. What is left behind is to be told from what has been read.
FEW = Plan(streams=40, users=2, revoked=1, seconds=4, after=())


def streams(stage: Stage, plan: Plan) -> dict[str, Any]:
    """Opens, disturbs, counts and closes them, a few first; what was found, by name."""
    stage.asked(1)
    time.sleep(1)
    cold = stage.rss()
    _held(stage, FEW)
    time.sleep(1)
    return {"rss before anything was done, MB": cold / 1024} | _held(stage, plan)


def _held(stage: Stage, plan: Plan) -> dict[str, Any]:
    users = [stage.sign_in("events") for _ in range(plan.users)]
    stage.asked(1)
    time.sleep(1)
    before = (stage.rss(), stage.anonymous(), stage.descriptors())
    found: dict[str, Any] = {"rss before, MB": before[0] / 1024, "anonymous before, MB": before[1] / 1024}
    crowd = Attacker(stage, "crowd.py", _plan(stage, plan, users))
    try:
        began = time.monotonic()
        crowd.line("open", 90)
        found |= {"streams": plan.streams, "opened in, s": time.monotonic() - began}
        time.sleep(2)
        held = (stage.rss(), stage.anonymous(), stage.descriptors())
        found |= {
            "rss with all open, MB": held[0] / 1024,
            "rss per stream, KB": figures.kilobytes_each(before[0], held[0], plan.streams),
            "anonymous per stream, KB": figures.kilobytes_each(before[1], held[1], plan.streams),
            "descriptors with all open": held[2],
        }
        moments = _disturb(stage, plan, users)
        sent = stage.end_streams()
        # The last event is on its way to each.
        time.sleep(2)
        found |= _judge(crowd.report(60, "end\n"), plan, moments, sent)
    finally:
        crowd.close()
    return found | _aftermath(stage, plan, before)


def _disturb(stage: Stage, plan: Plan, users: list[Signed]) -> dict[int, float]:
    """Somebody refreshes about every second, and now and then somebody revokes; when who did."""
    begun, moments = time.monotonic(), {}
    turn = 0
    while (passed := time.monotonic() - begun) < plan.seconds:
        due = int(passed * (plan.revoked + 1) / plan.seconds)
        if due > len(moments) and len(moments) < plan.revoked:
            who = len(moments)
            answer = users[who].revoke()
            expect(answer.status == 200, f"/revoke answered {answer.status} {answer.body[:300]}")
            moments[who] = time.monotonic()
            stage.say(f"streams: the grant of user {who} is revoked")
        living = users[len(moments) :]
        living[turn % len(living)].refresh()
        turn += 1
        time.sleep(1)
    expect(len(moments) == plan.revoked, f"only {len(moments)} grants were revoked")
    return moments


def _judge(told: list[dict[str, Any]], plan: Plan, moments: dict[int, float], sent: dict[int, int]) -> dict[str, Any]:
    """Every stream was as it should be, or the run ends."""
    expect(len(told) == plan.streams, f"{len(told)} of {plan.streams} streams are reported")
    expect(all(it["in_order"] for it in told), "a stream got an event twice, not at all, or another stream's")
    ended = [it for it in told if it["group"] in moments]
    going = [it for it in told if it["group"] not in moments]
    late = [it for it in ended if it["ended"] is None or it["ended"] - moments[it["group"]] > CUT]
    expect(not late, f"{len(late)} of {len(ended)} streams outlived their grant by more than {CUT:g} s: {late[:3]}")
    early = [it for it in ended if it["ended"] < moments[it["group"]] - 1]
    expect(not early, f"{len(early)} streams ended before they were revoked: {early[:3]}")
    cut = [it for it in going if it["ended"] is not None]
    expect(not cut, f"{len(cut)} of {len(going)} streams ended, whose grants live: {cut[:3]}")
    lost = [it for it in going if not it["last"] or it["count"] != sent.get(it["id"])]
    expect(not lost, f"{len(lost)} of {len(going)} streams lack events: {lost[:3]}, {[sent.get(it['id']) for it in lost[:3]]}")
    expect(len(sent) == len(going), f"the upstream still holds {len(sent)} streams of {len(going)}")
    return {
        "grants revoked": len(moments),
        "their streams": len(ended),
        "cut after at most, ms": max(it["ended"] - moments[it["group"]] for it in ended) * 1000,
        "how they were cut": ", ".join(sorted({f"{it['wire']}: {it['how']}" for it in ended})),
        "streams that went on": len(going),
        "their events, each once and in order": sum(it["count"] for it in going),
    }


def _aftermath(stage: Stage, plan: Plan, before: tuple[int, int, int]) -> dict[str, Any]:
    """What is left of it."""
    closed, found = time.monotonic(), {}
    for seconds in plan.after:
        time.sleep(max(0.0, closed + seconds - time.monotonic()))
        found[f"rss {seconds} s after, MB"] = stage.rss() / 1024
    # Idle connections to the upstream are kept for a few seconds.
    descriptors = stage.settled(before[2], 10)
    expect(descriptors <= before[2], f"{descriptors} files are open, {before[2]} were")
    stage.subject.probe()
    found["anonymous after, MB"] = stage.anonymous() / 1024
    found["rss after over before"] = stage.rss() / before[0]
    found["descriptors before and after"] = f"{before[2]}, {descriptors}"
    return found


