"""Cron lines: when they fire, also where clocks are changed, and how they read in Kubeflow's time zone."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from kubeflow_server import check_cron
from polydistill.cluster.cron import Cron, Schedule, read_zone
from polydistill.errors import ParamsError

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)  # a Thursday
LJUBLJANA, KOLKATA = ZoneInfo("Europe/Ljubljana"), ZoneInfo("Asia/Kolkata")
IN_UTC = ZoneInfo("UTC")


def local(times: list[datetime], zone: ZoneInfo) -> list[str]:
    return [f"{at.astimezone(zone):%a %Y-%m-%d %H:%M}" for at in times]


@pytest.mark.parametrize(
    ("line", "sent", "times"),
    [
        pytest.param("0 3 * * 1", "0 0 3 * * 1", ["Mon 2026-11-30 03:00", "Mon 2026-12-07 03:00"], id="weekly"),
        pytest.param("0 3 * * mon", "0 0 3 * * 1", ["Mon 2026-11-30 03:00", "Mon 2026-12-07 03:00"], id="by name"),
        pytest.param("30 4 * * 7", "0 30 4 * * 0", ["Sun 2026-11-29 04:30", "Sun 2026-12-06 04:30"], id="Sunday is 7"),
        pytest.param(
            "5 */6 * * *", "0 5 0,6,12,18 * * *", ["Thu 2026-11-26 12:05", "Thu 2026-11-26 18:05"], id="steps"
        ),
        pytest.param("0 0 31 * *", "0 0 0 31 * *", ["Thu 2026-12-31 00:00", "Sun 2027-01-31 00:00"], id="the 31st"),
        pytest.param("0 0 29 feb *", "0 0 0 29 2 *", ["Tue 2028-02-29 00:00"], id="leap day"),
        pytest.param("0 0 1 * 5", "0 0 0 1 * 5", ["Fri 2026-11-27 00:00", "Tue 2026-12-01 00:00"], id="either day"),
        pytest.param(
            "0 9-11,15 * * *", "0 0 9,10,11,15 * * *", ["Thu 2026-11-26 15:00", "Fri 2026-11-27 09:00"], id="list"
        ),
    ],
)
def test_a_line_fires_and_is_sent_with_six_fields(line: str, sent: str, times: list[str]) -> None:
    cron = Cron.parse(line)
    assert str(cron) == sent
    check_cron(sent)
    assert local(cron.next_times(NOW, IN_UTC, 2), IN_UTC)[: len(times)] == times
    assert Cron.read_back(sent) == cron


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("0 3 * *", "wanted five fields .* and got 4", id="four fields"),
        pytest.param("0 0 3 * * 1", "wanted five fields .* and got 6", id="six fields"),
        pytest.param("CRON_TZ=UTC 0 3 * * 1", "and got 6", id="zone in front"),
        pytest.param("60 3 * * *", "`60` is not within 0 to 59", id="minute 60"),
        pytest.param("0 3 * * lundi", "`lundi` is no number; names are sun, mon", id="name"),
        pytest.param("5-1 3 * * *", "`5-1` runs backwards; .* two ranges, `5-59,0-1`", id="backwards"),
        pytest.param("0 3 * * fri-mon", "`fri-mon` runs backwards; .* two ranges, `5-7,0-1`", id="over the week's end"),
        pytest.param("0 25-1 * * *", "`25-1` is not within 0 to 23", id="backwards and too high"),
        pytest.param("*/0 3 * * *", r"`\*/0` has a step of 0; wanted 1 or more", id="step 0 of all"),
        pytest.param("0 3/00 * * *", "`3/00` has a step of 0; wanted 1 or more", id="step 0"),
        pytest.param("0 3 * * L", "`L` is no number", id="last"),
        pytest.param("0 3 30 2 *", "fits no day", id="30 February"),
        pytest.param("0 3 */2 * 1", "mean different days to different programs", id="step and weekday"),
    ],
)
def test_a_wrong_line_is_refused(line: str, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        Cron.parse(line)


@pytest.mark.parametrize(
    ("line", "zone", "sent"),
    [
        pytest.param("0 3 * * 1", LJUBLJANA, "0 0 2 * * 1", id="an hour earlier"),
        pytest.param("30 0 * * 1", LJUBLJANA, "0 30 23 * * 0", id="the day before"),
        pytest.param("15 3 * * *", KOLKATA, "0 45 21 * * *", id="half hours"),
        pytest.param("0 * * * *", LJUBLJANA, "0 0 * * * *", id="hourly"),
    ],
)
def test_a_line_of_another_zone_is_rewritten_so_that_it_fires_at_the_wanted_hour(
    line: str, zone: ZoneInfo, sent: str
) -> None:
    schedule = Schedule.plan(line, zone, IN_UTC, NOW)
    assert str(schedule.sent) == sent
    assert schedule.next_times(NOW, 3) == Cron.parse(line).next_times(NOW, zone, 3)


@pytest.mark.parametrize(
    ("line", "zone", "reason"),
    [
        pytest.param("0 0 1 * *", LJUBLJANA, "midnight lies between", id="first of the month"),
        pytest.param("0,45 3 * * *", KOLKATA, "cannot name", id="two hours, two minutes"),
    ],
)
def test_what_one_line_cannot_say_is_refused_with_the_way_out(line: str, zone: ZoneInfo, reason: str) -> None:
    with pytest.raises(ParamsError, match=rf"{reason}.*CRON_SCHEDULE_TIMEZONE={zone.key}.*--server-time-zone"):
        Schedule.plan(line, zone, IN_UTC, NOW)


def test_a_changed_clock_is_announced_where_kubeflow_reads_in_another_zone() -> None:
    weekly = Schedule.plan("0 3 * * 1", LJUBLJANA, IN_UTC, NOW)
    (told,) = weekly.surprises(NOW)
    assert told == "from 2027-03-29 on it starts at 04:00 of Europe/Ljubljana, not at 03:00"
    after = datetime(2027, 3, 29, tzinfo=UTC)
    assert local(weekly.next_times(after, 1), LJUBLJANA) == ["Mon 2027-03-29 04:00"]


def test_in_kubeflows_own_zone_the_hour_stays_and_only_hours_that_are_skipped_or_doubled_are_announced() -> None:
    at_three = Schedule.plan("0 3 * * 1", LJUBLJANA, LJUBLJANA, NOW)
    assert str(at_three.sent) == "0 0 3 * * 1" and at_three.surprises(NOW) == []
    spring = datetime(2027, 3, 22, 12, tzinfo=UTC)
    assert local(at_three.next_times(spring, 1), LJUBLJANA) == ["Mon 2027-03-29 03:00"]
    left_out, twice = Schedule.plan("30 2 * * *", LJUBLJANA, LJUBLJANA, NOW).surprises(NOW)
    assert left_out.startswith("on 2027-03-28") and "left out" in left_out
    assert twice.startswith("on 2027-10-31") and "twice" in twice


# As github.com/robfig/cron 3.0.1 computes them, the library with which Kubeflow reads cron lines.
@pytest.mark.parametrize(
    ("line", "zone", "after", "times"),
    [
        pytest.param(
            "30 2 * * *",
            "Europe/Ljubljana",
            datetime(2027, 3, 27, 12, tzinfo=UTC),
            ["2027-03-29 00:30", "2027-03-30 00:30"],
            id="left out in spring",
        ),
        pytest.param(
            "30 2 * * *",
            "Europe/Ljubljana",
            datetime(2027, 10, 30, 12, tzinfo=UTC),
            ["2027-10-31 00:30", "2027-10-31 01:30", "2027-11-01 01:30"],
            id="twice in autumn",
        ),
        pytest.param(
            "30 23 * * *",
            "Europe/Ljubljana",
            datetime(2027, 10, 31, 2, tzinfo=UTC),
            ["2027-10-31 22:30", "2027-11-01 22:30"],
            id="the 25th hour of a day",
        ),
        pytest.param(
            "0 0 * * *",
            "America/Sao_Paulo",
            datetime(2018, 11, 3, 12, tzinfo=UTC),
            ["2018-11-05 02:00", "2018-11-06 02:00"],
            id="a midnight that is not there",
        ),
    ],
)
def test_changed_clocks_are_read_as_kubeflow_reads_them(
    line: str, zone: str, after: datetime, times: list[str]
) -> None:
    fires = Cron.parse(line).next_times(after, ZoneInfo(zone), len(times))
    assert [f"{at:%Y-%m-%d %H:%M}" for at in fires] == times


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "Europe"])
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(ParamsError, match="is no time zone known here"):
        read_zone(name)
