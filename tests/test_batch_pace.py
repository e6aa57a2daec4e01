"""How fast a batch sends and how much at once: against simulated servers in virtual time, and rule by rule."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from oastream.batch.pacing.concurrency import AutoConcurrency, FixedConcurrency
from oastream.batch.pacing.gate import Gate, Settings
from oastream.batch.pacing.limits import Limit, Resource, read_limits, read_named_limit, read_named_resource
from oastream.batch.pacing.outage import Outage
from oastream.batch.pacing.pace import Pace
from oastream.batch.pacing.search import Search
from oastream.batch.pacing.suspicion import Suspicion
from oastream.batch.pacing.tokens import Cost, TokenBudget, TokenEstimates
from oastream.exits import Outcome, Verdict
from tests.support.batch_simulator import AtOnce, Continuous, Items, Run, ServerSettings, simulate

MINUTE = 60.0
SECOND = 1.0
COST = Cost(250, 250)
BUCKETS = pytest.mark.parametrize("refill", [Continuous, AtOnce])
WINDOWS = pytest.mark.parametrize("window", [MINUTE, SECOND], ids=["by-minute", "by-second"])


# Simulations: 3,000 requests and 2 M tokens a minute


def limited(
    server: ServerSettings, seed: int, clients: int = 1, shards: int | None = None, rpm: float | None = None
) -> Run:
    settings = Settings(rpm=rpm, shards=shards or clients, concurrency=1000)
    return simulate(server, settings, seed, clients=clients, seconds=180)


@pytest.mark.parametrize("clients", [1, 8])
@BUCKETS
@WINDOWS
@pytest.mark.parametrize("says", ["headers", "retry-after"])
def test_the_limit_is_used_and_not_overrun(
    says: str, window: float, refill: type[Continuous] | type[AtOnce], clients: int
) -> None:
    seed = clients + int(window)  # the same in each run, another in each case
    share = limited(ServerSettings(says, refill, window), seed, clients).share(60, 180)
    assert share.used >= 95, share
    assert share.refused < 1, share


@WINDOWS
@BUCKETS
def test_the_limit_is_found_by_429s_alone(window: float, refill: type[Continuous] | type[AtOnce]) -> None:
    share = limited(ServerSettings("nothing", refill, window), seed=1).share(60, 180)
    assert share.used >= 90, share
    assert share.refused < 1, share


def test_a_small_limit_by_the_second_is_told_from_one_by_the_minute() -> None:
    share = limited(ServerSettings("headers", Continuous, SECOND, rpm=300), seed=1).share(0, 180)
    assert share.used >= 90, share


@pytest.mark.parametrize("charges_usage", [True, False], ids=["by-usage", "by-output-limit"])
@pytest.mark.parametrize("says", ["headers", "retry-after"])
def test_tokens_may_be_what_is_scarce(says: str, charges_usage: bool) -> None:
    def large(luck: random.Random) -> Items:
        return Items(luck, size=3000, output=300, output_limit=2000)

    server = ServerSettings(says, charges_usage=charges_usage)
    share = simulate(server, Settings(concurrency=1000), 3, seconds=180, items=large).share(60, 180)
    assert share.used >= 90, share
    assert share.refused < 1, share


@WINDOWS
@pytest.mark.parametrize("charges_usage", [True, False], ids=["by-usage", "by-output-limit"])
def test_estimates_far_from_what_the_server_counts_cost_no_speed(window: float, charges_usage: bool) -> None:
    def wrong(luck: random.Random) -> Items:
        return Items(luck, size=3000, output=300, output_limit=4000)

    cost = 750 * 1.13 + (300 if charges_usage else 4000)
    server = ServerSettings("headers", Continuous, window, rpm=1500, tpm=900 * cost, charges_usage=charges_usage)
    share = simulate(server, Settings(concurrency=1000), 7, seconds=150, items=wrong).share(60, 150)
    assert share.used >= 93, share
    assert share.refused < 1, share


def test_given_limits_are_kept_without_a_word_from_the_server() -> None:
    share = limited(ServerSettings("nothing"), 1, rpm=3000).share(0, 180)
    assert share.used >= 98, share
    assert share.refused == 0, share


def test_clients_that_do_not_know_of_each_other_share_by_the_headers() -> None:
    share = limited(ServerSettings("headers"), seed=2, clients=4, shards=1).share(90, 180)
    assert share.used >= 85, share
    assert share.refused < 1, share


def test_all_at_once_is_what_a_server_refuses() -> None:
    """The simulator itself: with no gate worth the name, nearly everything is refused."""

    class OpenGate(Gate):
        def next_start(self, now: float) -> float:
            return now if self.in_flight < 500 else math.inf

    server = ServerSettings("retry-after", window=SECOND, network=(0.1, 0.3))
    assert simulate(server, Settings(), 1, seconds=8, gate=OpenGate).share(2, 8).refused > 80


# Simulations: outages and slots

UNLIMITED = 6e9


@pytest.mark.parametrize("seconds", [60, 63], ids=["back-at-a-probe", "back-after-one"])
@pytest.mark.parametrize("concurrency", [200, None], ids=["fixed", "auto"])
def test_an_outage_fails_no_item_and_is_over_soon_after(seconds: int, concurrency: int | None) -> None:
    gone = (90.0, 90.0 + seconds)
    server = ServerSettings("nothing", rpm=UNLIMITED, tpm=UNLIMITED, slots=64, gone=gone)
    run = simulate(server, Settings(concurrency=concurrency), seed=seconds, seconds=gone[1] + 55)
    assert run.clients[0].failed == []
    full_speed = run.answers_per_second(60, 90)
    assert run.answers_per_second(gone[1] + 35, gone[1] + 55) >= 0.95 * full_speed
    assert run.answers_per_second(gone[0] + 1, gone[1]) == 0


@pytest.mark.parametrize(("slots", "count"), [(4, 2000), (256, 12_000)])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_auto_finds_how_many_a_server_works_on(slots: int, count: int, seed: int) -> None:
    server = ServerSettings("nothing", rpm=UNLIMITED, tpm=UNLIMITED, slots=slots)

    def measure(concurrency: int | None) -> tuple[float, float]:
        run = simulate(server, Settings(concurrency=concurrency), seed, items=lambda luck: Items(luck, count=count))
        return run.server.done[-1][0], run.first_event_p99()

    best_seconds, best_p99 = measure(slots)  # more than that are of no use to this server, and wait in its queue
    seconds, p99 = measure(None)
    assert seconds <= best_seconds / 0.9
    assert p99 <= 2 * best_p99


def test_a_server_without_a_queue_is_sent_as_many_as_bring_more_tokens() -> None:
    concurrency = AutoConcurrency()
    now = tokens_a_second = 0.0
    for _ in range(40):  # each round takes longer the more share the server, beyond 32
        batch = range(concurrency.limit)
        for number in batch:
            concurrency.start(number, now)
        now += 0.2
        for number in batch:
            concurrency.first_event(number, now)
        now += max(1.0, len(batch) / 32)
        for number in batch:
            concurrency.end(number, now, 100, len(batch))
        tokens_a_second = 100 * len(batch) / max(1.0, len(batch) / 32)
    assert 32 <= concurrency.limit <= 128
    assert tokens_a_second == 3200


# What servers show


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (
            {
                "x-ratelimit-limit-requests": "3000",
                "x-ratelimit-remaining-requests": "2999",
                "x-ratelimit-reset-requests": "20ms",
            },
            [(Resource.REQUESTS, 3000, 2999, 0.02, None)],
        ),
        (
            {
                "x-ratelimit-limit-tokens": "200000",
                "x-ratelimit-remaining-tokens": "100",
                "x-ratelimit-reset-tokens": "1m2.5s",
            },
            [(Resource.TOKENS, 200000, 100, 62.5, None)],
        ),
        (  # Azure, GitHub Models
            {
                "x-ratelimit-limit-tokens": "2000000",
                "x-ratelimit-remaining-tokens": "1999962",
                "x-ratelimit-renewalperiod-tokens": "60",
                "x-ratelimit-reset-tokens": "7",
                "x-ratelimit-abusepenalty-active": "False",
            },
            [(Resource.TOKENS, 2000000, 1999962, 7, 60)],
        ),
        (  # Cerebras
            {
                "x-ratelimit-limit-requests-day": "14400",
                "x-ratelimit-remaining-requests-day": "0",
                "x-ratelimit-reset-requests-day": "33011.382867",
            },
            [(Resource.REQUESTS, 14400, 0, 33011.382867, 86400)],
        ),
        (  # Mistral
            {"x-ratelimit-limit-req-minute": "60", "x-ratelimit-remaining-req-minute": "59"},
            [(Resource.REQUESTS, 60, 59, None, 60)],
        ),
        (
            {"ratelimitbysize-limit": "500000", "ratelimitbysize-remaining": "499900", "ratelimitbysize-reset": "28"},
            [(Resource.TOKENS, 500000, 499900, 28, None)],
        ),
        (  # Anthropic
            {
                "anthropic-ratelimit-input-tokens-limit": "50000",
                "anthropic-ratelimit-input-tokens-remaining": "49000",
                "anthropic-ratelimit-input-tokens-reset": "2026-11-26T12:00:30Z",
            },
            [(Resource.INPUT_TOKENS, 50000, 49000, 30, None)],
        ),
        (  # OpenRouter, and a gateway
            {"x-ratelimit-limit": "20", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "1795694403000"},
            [(Resource.REQUESTS, 20, 0, 3, None)],
        ),
        (
            {"ratelimit-limit": "10, 10;w=1", "ratelimit-remaining": "4", "ratelimit-reset": "1795694401"},
            [(Resource.REQUESTS, 10, 4, 1, None)],
        ),
        (  # Together
            {"x-tokenlimit-limit": "900", "x-tokenlimit-remaining": "800"},
            [(Resource.TOKENS, 900, 800, None, None)],
        ),
        (  # Fireworks, by the second
            {"x-ratelimit-limit-tokens-generated": "1200", "x-ratelimit-remaining-tokens-generated": "1100"},
            [(Resource.OUTPUT_TOKENS, 1200, 1100, None, 1)],
        ),
        ({"x-ratelimit-limit-requests": "0", "x-ratelimit-remaining-requests": "0"}, []),
        ({"x-ratelimit-limit-requests": "many", "x-ratelimit-remaining-requests": "-1"}, []),
        ({"x-ratelimit-limit-requests": "5"}, []),
        ({"x-ratelimit-limit-images": "5", "x-ratelimit-remaining-images": "5"}, []),
        ({"x-ratelimit-over-limit": "yes", "content-type": "text/event-stream"}, []),
    ],
)
def test_limits_are_read_in_every_spelling(headers: dict[str, str], expected: list[tuple[object, ...]]) -> None:
    limits = read_limits(headers, wall_time=1795694400.0)
    assert [tuple(limit)[1:] for limit in limits] == expected


@pytest.mark.parametrize("reset", ["soon", "", "nan", "9" * 400, "2026-99-01T00:00:00Z", "-5", "1e400"])
def test_a_reset_that_cannot_be_read_is_unknown(reset: str) -> None:
    headers = {
        "x-ratelimit-limit-requests": "5",
        "x-ratelimit-remaining-requests": "4",
        "x-ratelimit-reset-requests": reset,
    }
    assert read_limits(headers, wall_time=0.0)[0].resets_in is None


def test_limits_of_several_windows_are_kept_apart() -> None:
    headers = {
        f"x-ratelimit-{kind}-tokens-{window}": value
        for window, size in (("minute", "60"), ("day", "900"))
        for kind, value in (("limit", size), ("remaining", "1"))
    }
    assert sorted(limit.limit for limit in read_limits(headers, wall_time=0.0)) == [60, 900]


def test_a_429_may_name_the_limit() -> None:
    message = (
        "Rate limit reached for m in organization o on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000."
    )
    limit = read_named_limit(message)
    assert limit is not None
    assert (limit.resource, limit.limit, limit.remaining, limit.window) == (Resource.TOKENS, 30000, 1000, 60)
    assert read_named_resource(message) is Resource.TOKENS
    assert read_named_limit("Limit 30000") is None
    assert read_named_resource("Rate limit reached on requests per min (RPM): Limit 3, Requested 1.") is None


# The pace


def pace_of(limit: Limit, pace: Pace | None = None) -> float:
    """Requests a second that start in the ten seconds after a header has shown this limit."""
    pace = pace or Pace()
    pace.observe(pace.start(COST, 0.0), [limit], 0.0)
    return starts_until(pace, 10.0) / 10


def starts_until(pace: Pace, end: float, now: float = 0.0) -> int:
    count = 0
    while (now := max(now, pace.next_start(now))) < end:
        pace.start(COST, now)
        count += 1
    return count


def shown(remaining: float, resets_in: float | None = None, size: float = 600.0, window: float = 60.0) -> Limit:
    return Limit("requests", Resource.REQUESTS, size, remaining, resets_in, window)


def test_nothing_is_sent_in_bursts() -> None:
    pace = Pace(rpm=600)
    assert starts_until(pace, 1.0) <= 11
    assert starts_until(pace, 60.1, now=60.0) <= 7  # after a minute of rest: half a second's worth


def test_the_fuller_the_servers_bucket_the_faster() -> None:
    speeds = [pace_of(shown(remaining)) for remaining in (600, 300, 1)]
    assert speeds[0] > 1.3 * speeds[1] > 1.3 * speeds[2]
    assert 0 < speeds[2] < 6


def test_the_strictest_limit_holds() -> None:
    assert pace_of(shown(600), Pace(rpm=60)) == pytest.approx(1, rel=0.2)
    assert pace_of(shown(300), Pace(rpm=60_000)) <= 10.5
    tokens = Limit("tokens", Resource.TOKENS, 30_000, 15_000, None, 60)
    assert pace_of(tokens) <= 1.2  # 500 tokens each


@pytest.mark.parametrize("limit", [None, shown(300)], ids=["given", "shown"])
def test_limits_are_divided_among_shards(limit: Limit | None) -> None:
    pace = Pace(rpm=600, shards=4)
    speed = starts_until(pace, 10.0) / 10 if limit is None else pace_of(limit, Pace(shards=4))
    assert speed == pytest.approx(2.5, rel=0.25)


def test_what_is_used_up_until_a_reset_waits_for_it() -> None:
    pace = Pace()
    for moment, remaining in ((0.0, 20), (4.0, 0)):
        sent = pace.start(COST, moment)
        pace.observe(sent, [shown(remaining, resets_in=30 - moment)], moment)
    assert pace.next_start(4.5) == 30.0


def test_a_limit_by_the_day_is_not_spread_over_the_day() -> None:
    speed = pace_of(shown(14_000, resets_in=40_000, size=14_400, window=86_400))
    assert speed > 20
    assert pace_of(shown(0, resets_in=40_000, size=14_400, window=86_400)) == 0


def test_a_wait_that_a_server_asks_for_holds_everything() -> None:
    gate = Gate(Settings(concurrency=8))
    flight = gate.start("a", COST, 0.0)
    gate.fail(flight, Verdict(Outcome.RATE_LIMITED, http_status=429, retry_after=17.0), 1.0)
    assert gate.next_start(1.0) == 18.0


def test_a_503_holds_everything_for_as_long_as_it_asks() -> None:
    gate = Gate(Settings(concurrency=8))
    gate.receive_first_event(gate.start("a", COST, 0.0), 0.5)
    flight = gate.start("b", COST, 1.0)
    gate.fail(flight, Verdict(Outcome.SERVER_ERROR, http_status=503, retry_after=17.0), 2.0)
    assert gate.next_start(2.0) == 19.0


def test_a_server_that_is_gone_is_not_tried_before_the_wait_that_it_asked_for_is_over() -> None:
    gate = Gate(Settings(concurrency=8))
    flights = [gate.start(item, COST, 0.0) for item in "abc"]
    for flight in flights:
        gate.fail(flight, OVERLOADED._replace(retry_after=40.0), 1.0)
    assert gate.next_start(1.0) == 41.0
    probe = gate.start("a", COST, 41.0)
    assert gate.next_start(41.1) > 60
    gate.receive_first_event(probe, 42.0)
    assert gate.next_start(44.0) <= 44.0


def test_no_503_holds_longer_than_a_server_is_waited_for() -> None:
    gate = Gate(Settings(concurrency=8, longest_outage=600))
    gate.fail(gate.start("a", COST, 0.0), OVERLOADED._replace(retry_after=1e9), 1.0)
    assert gate.next_start(1.0) <= 601.0


@pytest.mark.parametrize("body", ["Please try again in 1m2.5s.", '"retryDelay": "62.5s"'])
def test_a_wait_in_the_body_holds_everything(body: str) -> None:
    gate = Gate(Settings(concurrency=8))
    flight = gate.start("a", COST, 0.0)
    gate.fail(flight, Verdict(Outcome.RATE_LIMITED, http_status=429), 1.0, body)
    assert gate.next_start(1.0) == 63.5


def test_after_a_429_without_a_wait_one_request_goes_first() -> None:
    pace = Pace()
    pace.refuse(pace.start(COST, 0.0), 0.1, None)
    moment = pace.next_start(0.1)
    assert 0.1 < moment < 2
    first = pace.start(COST, moment)
    assert pace.next_start(moment + 1) == math.inf
    pace.refuse(first, moment + 1, None)
    later = pace.next_start(moment + 1)
    assert later - (moment + 1) > moment - 0.1  # a longer pause than before
    pace.accept(pace.start(COST, later), later + 0.5)
    assert pace.next_start(later + 0.5) < math.inf


def test_a_429_that_names_a_limit_sets_it() -> None:
    gate = Gate(Settings(concurrency=8))
    flight = gate.start("a", COST, 0.0)
    body = "on requests per min (RPM): Limit 60, Used 60, Requested 1. Please try again in 1s."
    gate.fail(flight, Verdict(Outcome.RATE_LIMITED, http_status=429), 0.0, body)
    assert starts_until(gate.pace, 11.0, now=1.0) <= 11


def test_a_429_that_names_tokens_slows_down_what_comes_next() -> None:
    pace = Pace()
    sent = [pace.start(COST, moment / 100) for moment in range(100)]
    pace.refuse(sent[-1], 1.0, 1.0, Resource.TOKENS)
    assert starts_until(pace, 12.0, now=2.0) <= 1000  # 50 let through a second, the wait included, and growing


@pytest.mark.parametrize(("scale", "suspect"), [(1.5, Resource.TOKENS), (0.5, Resource.REQUESTS)])
def test_what_is_scarce_shows_in_what_was_sent_before_the_429s(scale: float, suspect: Resource) -> None:
    suspicion = Suspicion()
    suspicion.suspect = Resource.REQUESTS if suspect is Resource.TOKENS else Resource.TOKENS
    for second in range(60):
        is_refused = second % 10 == 9
        for tenth in range(10):
            suspicion.send((scale if is_refused else 1) * (400 + 40 * tenth), second + tenth / 10)
        if is_refused:
            suspicion.refuse(second + 0.9)
    assert suspicion.suspect is suspect


def test_a_wait_that_was_too_short_says_nothing_of_the_speed() -> None:
    search = Search()
    for tenth in range(100):
        search.send(1, tenth / 10)
    search.refuse(1, 9.9, 10.0)
    search.resume(40.0)  # so long a wait is one for a window: the limit is known
    speed = search.speed()
    for moment in (40.0, 41.0, 42.0):
        search.send(1, moment)
        search.refuse(1, moment, moment + 0.1)
        search.resume(moment + 1)
    assert search.speed() == pytest.approx(speed)


def test_shards_that_wait_for_the_same_moment_start_in_turn() -> None:
    paces = [Pace(rpm=600, shards=4, shard=number) for number in range(4)]
    for pace in paces:
        pace.refuse(pace.start(COST, 0.0), 0.1, 10.0)
    starts = [pace.next_start(0.1) for pace in paces]
    assert starts == pytest.approx([10.1, 10.2, 10.3, 10.4])


def test_a_server_that_answers_at_once_is_soon_sent_all_it_takes() -> None:
    pace = Pace()
    now, count = 0.0, 0
    while count < 2000:
        now = max(now, pace.next_start(now))
        pace.accept(pace.start(COST, now), now)
        count += 1
    assert now < 1.5
    assert starts_until(Pace(), 0.3) < 40  # while nothing has been answered


def test_what_limits_held_back_and_refused_is_counted() -> None:
    pace = Pace(rpm=60)
    pace.start(COST, 0.0)
    assert pace.next_start(0.0) == 1.0
    assert pace.next_start(1.0) == 1.0
    pace.refuse(pace.start(COST, 1.0), 1.1, 60.0)
    pace.refuse(pace.start(COST, 70.0), 70.1, 1.0)
    counts = pace.counts
    assert counts.held_seconds == pytest.approx(1.0)
    assert (counts.starts, counts.refused, counts.later_starts, counts.later_refused) == (3, 2, 1, 1)


# Tokens


def test_tokens_are_estimated_from_bytes_and_the_output_limit() -> None:
    estimates = TokenEstimates()
    assert estimates.estimate(400, 300) == Cost(100, 300)
    assert estimates.estimate(400, None) == Cost(100, 512)


def test_answers_teach_what_requests_cost() -> None:
    estimates = TokenEstimates()
    for _ in range(20):
        estimates.learn(400, Cost(200, 50))
    assert estimates.estimate(400, None) == pytest.approx(Cost(200, 50))
    assert estimates.estimate(400, 300) == pytest.approx(Cost(200, 300))


def test_an_answer_that_took_less_gives_back_the_rest() -> None:
    pace = Pace(tpm=6000)  # 100 a second
    sent = pace.start(Cost(100, 900), 0.0)
    assert pace.next_start(0.0) == pytest.approx(10)
    pace.settle(sent, Cost(100, 100))
    assert pace.next_start(0.0) == pytest.approx(2)


def test_a_budget_leaves_no_room_for_more_than_is_left() -> None:
    budget = TokenBudget(1000)
    budget.start(COST)
    assert budget.has_room()
    budget.start(COST)
    assert not budget.has_room()
    budget.end(COST, Cost(50, 50))
    assert budget.has_room()
    assert not budget.is_spent()
    budget.end(COST, Cost(500, 500))
    assert budget.is_spent()
    assert TokenBudget(None).has_room()


# Outages

GONE = Verdict(Outcome.UNREACHABLE)
BROKEN = Verdict(Outcome.SERVER_ERROR, http_status=500)
OVERLOADED = Verdict(Outcome.SERVER_ERROR, http_status=503)
KEY_REFUSED = Verdict(Outcome.AUTH, http_status=401)


def healthy() -> Outage:
    outage = Outage()
    outage.succeed(0.0, 0.0)
    return outage


def test_an_item_that_fails_while_others_succeed_has_itself_to_blame() -> None:
    outage = healthy()
    for moment in range(1, 20):
        outage.fail("poison", BROKEN, moment - 0.5, moment)
        outage.succeed(moment, moment + 0.5)
    assert not outage.is_resting
    assert not outage.excuses(5.0)


def test_a_last_item_that_the_server_cannot_answer_is_no_outage() -> None:
    outage = healthy()
    for moment in range(1, 7):
        outage.fail("poison", BROKEN, moment - 0.5, moment)
    assert not outage.is_resting


@pytest.mark.parametrize("verdict", [GONE, OVERLOADED])
def test_a_last_item_waits_for_a_server_that_is_gone(verdict: Verdict) -> None:
    outage = healthy()
    for moment in range(1, 4):
        outage.fail("last", verdict, moment - 0.5, moment)
    assert outage.is_resting
    assert all(outage.excuses(moment) for moment in (1, 2, 3))


def test_probes_go_one_at_a_time_with_growing_pauses_up_to_30_s() -> None:
    outage = Outage()
    outage.fail("a", GONE, 0.0, 0.0)
    starts = []
    now = 0.0
    for _ in range(10):
        now = outage.next_start(now)
        starts.append(now)
        outage.start(now)
        assert outage.next_start(now + 0.01) > now + 0.01
        outage.fail("a", GONE, now, now + 0.1)
    pauses = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 30.0
    assert pauses[0] <= 2.0


def test_what_failed_in_an_outage_is_no_attempt_and_what_fails_after_it_is() -> None:
    outage = healthy()
    for item in "abc":
        outage.fail(item, BROKEN, 1.0, 2.0)
    outage.succeed(59.0, 60.0)
    assert outage.excuses(2.0)
    assert not outage.excuses(61.0)


def test_a_stream_that_goes_on_does_not_end_an_outage() -> None:
    outage = healthy()
    for item in "abc":
        outage.fail(item, OVERLOADED, 1.0, 2.0)
    outage.succeed(1.5, 3.0)
    assert outage.is_resting
    assert outage.excuses(2.0)
    outage.succeed(4.0, 5.0)
    assert not outage.is_resting
    assert outage.excuses(2.0)


def test_a_server_that_is_back_is_sent_to_gradually() -> None:
    gate = Gate(Settings(concurrency=100))
    flight = gate.start("a", COST, 0.0)
    gate.fail(flight, GONE, 0.0)
    probe = gate.start("a", COST, 1.0)
    gate.receive_first_event(probe, 2.0)
    assert gate.limit(2.0) == 1
    assert 40 <= gate.limit(3.0) <= 60
    assert gate.limit(5.0) == 100
    assert 2.0 < gate.next_start(2.0) < 3.0


def test_a_server_that_stays_away_is_given_up() -> None:
    outage = Outage(longest=600)
    outage.fail("a", GONE, 0.0, 5.0)
    assert not outage.is_over(600.0)
    assert outage.is_over(605.0)


def test_one_server_that_rests_does_not_stop_another() -> None:
    first, second = Gate(Settings(concurrency=8)), Gate(Settings(concurrency=8))
    first.fail(first.start("a", COST, 0.0), GONE, 0.1)
    assert first.next_start(0.1) > 0.1
    assert second.next_start(0.1) <= 0.1


@pytest.mark.parametrize("outcome", [Outcome.AUTH, Outcome.QUOTA, Outcome.NOT_FOUND, Outcome.TLS, Outcome.NOT_API])
def test_a_fatal_failure_before_any_answer_ends_it(outcome: Outcome) -> None:
    outage = Outage()
    outage.fail("a", Verdict(outcome), 0.0, 1.0)
    assert outage.is_over(1.0)
    assert outage.fatal == Verdict(outcome)


def test_later_it_takes_three_in_a_row() -> None:
    outage = healthy()
    for moment in (1.0, 2.0):
        outage.fail("a", KEY_REFUSED, moment, moment)
    outage.succeed(2.5, 3.0)
    for moment in (4.0, 5.0):
        outage.fail("a", KEY_REFUSED, moment, moment)
        assert not outage.is_over(moment)
    outage.fail("b", KEY_REFUSED, 6.0, 6.0)
    assert outage.is_over(6.0)


# How many at once


def test_auto_begins_with_eight_and_a_number_is_kept() -> None:
    assert Gate(Settings()).limit(10.0) == 8
    assert Gate(Settings(concurrency=3)).limit(10.0) == 3


def test_a_server_that_streams_eight_at_once_is_sent_sixteen_before_the_first_is_complete() -> None:
    concurrency = AutoConcurrency()
    for number in range(8):
        concurrency.start(number, 0.0)
    for number in range(7):
        concurrency.first_event(number, 0.5)
    assert concurrency.limit == 8
    concurrency.first_event(7, 0.5)
    assert concurrency.limit == 16


def test_one_late_first_event_of_many_is_no_queue_while_little_is_known() -> None:
    concurrency = AutoConcurrency(first=32)
    for number in range(32):
        concurrency.start(number, 0.0)
    for number in range(31):
        concurrency.first_event(number, 0.3)
    concurrency.review(2.0, 32)
    assert concurrency.limit == 32


@pytest.mark.parametrize("concurrency", [AutoConcurrency(), FixedConcurrency(100)], ids=["auto", "fixed"])
def test_a_shortage_of_descriptors_is_a_cap_and_said_once(concurrency: AutoConcurrency | FixedConcurrency) -> None:
    assert concurrency.lower_cap(5)
    assert concurrency.limit == 5
    assert not concurrency.lower_cap(4)
    assert concurrency.limit == 4


def test_no_more_start_than_may_be_in_flight() -> None:
    gate = Gate(Settings(concurrency=2))
    flights = [gate.start(item, COST, 10.0) for item in "ab"]
    assert gate.next_start(10.1) == math.inf
    gate.end(flights[0], Cost(1, 1), 11.0)
    assert gate.next_start(11.0) <= 11.0
