"""Decides when a cron line fires, and how it reads in the one time zone in which Kubeflow reads all of them.

Kubeflow has no time zone per schedule. Its scheduled-workflow controller reads every line in the zone that
CRON_SCHEDULE_TIMEZONE names, UTC in the manifests that Kubeflow publishes (`cronScheduleTimezone` in the config map
`pipeline-install-config`). It reads them with github.com/robfig/cron 1.2 (go.mod of kubeflow/pipelines), in six fields
of which the first is seconds. The prefix `CRON_TZ=` came with version 3 of that library: Kubeflow refuses it as a field
too many. So a line for another zone is rewritten here, which holds until the clocks of one of the two are changed.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from polydistill.errors import ParamsError

_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
_WEEKDAYS = "sun mon tue wed thu fri sat".split()
_DAY = 24 * 60
_YEARS_AHEAD = 5
"""As far as Kubeflow looks for a time that fits."""


@dataclass(frozen=True)
class Cron:
    """A cron line: what each field allows; on a weekday 0 is Sunday."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]

    @classmethod
    def parse(cls, line: str) -> "Cron":
        """Read the five fields of a cron line.

        Raises:
            ParamsError: If it is none, or fits no day at all.
        """
        fields = line.split()
        if len(fields) != 5:
            raise ParamsError(
                f"cron `{line}`: wanted five fields (minute, hour, day of month, month, weekday), such as `0 3 * * 1`, "
                f"and got {len(fields)}"
            )
        minutes, hours, days, months = (
            _field(line, field, lowest, highest, names)
            for field, lowest, highest, names in zip(
                fields[:4], (0, 0, 1, 1), (59, 23, 31, 12), ((), (), (), _MONTHS), strict=True
            )
        )
        weekdays = _field(line, fields[4], 0, 7, _WEEKDAYS)
        restricted = [field for field in (fields[2], fields[4]) if field not in ("*", "?")]
        if len(restricted) == 2 and "*/" in " ".join(restricted):
            raise ParamsError(
                f"cron `{line}`: day of month and weekday together, one with a step of `*`, mean different days to "
                "different programs; give one of them, or list the days"
            )
        cron = cls(minutes, hours, days, months, tuple(sorted({weekday % 7 for weekday in weekdays})))
        if cron.next_time(datetime.now(UTC), ZoneInfo("UTC")) is None:
            raise ParamsError(f"cron `{line}` fits no day of the next {_YEARS_AHEAD} years")
        return cron

    @classmethod
    def read_back(cls, six_fields: str) -> "Cron | None":
        """Read a line as Kubeflow has it; None where it is one that `str` never writes."""
        seconds, _, line = six_fields.partition(" ")
        try:
            return cls.parse(line) if seconds == "0" else None
        except ParamsError:
            return None

    def __str__(self) -> str:
        """Return the line with the six fields that Kubeflow reads."""
        fields = [_written(self.minutes, 60), _written(self.hours, 24), _written(self.days, 31)]
        return " ".join(["0", *fields, _written(self.months, 12), _written(self.weekdays, 7)])

    @property
    def starts_a_day(self) -> int:
        """How often it fires on each day that it fits."""
        return len(self.hours) * len(self.minutes)

    def next_time(self, after: datetime, zone: ZoneInfo) -> datetime | None:
        """Return the first time after `after`, in UTC, at which it fires where it is read in the zone."""
        return next(self._times(after, zone), None)

    def next_times(self, after: datetime, zone: ZoneInfo, count: int) -> list[datetime]:
        """Return the first times after `after`, in UTC."""
        return list(itertools.islice(self._times(after, zone), count))

    def times_on(self, day: date, zone: ZoneInfo) -> list[datetime]:
        """Return when it fires on a day of the zone, in UTC.

        What the clocks leave out when they are put forward is not there, what they pass twice is there twice: Kubeflow
        goes by the clock.
        """
        if not self.fits(day):
            return []
        midnight = datetime.combine(day, time(), zone).astimezone(UTC)
        fires = (midnight + timedelta(minutes=minute) for minute in range(_DAY + 120))
        return [at for at in fires if self._fires(at.astimezone(zone), day)]

    def _times(self, after: datetime, zone: ZoneInfo) -> Iterator[datetime]:
        first = after.astimezone(zone).date()
        for number in range(_YEARS_AHEAD * 366):
            yield from (at for at in self.times_on(first + timedelta(days=number), zone) if at > after)

    def _fires(self, local: datetime, day: date) -> bool:
        return local.date() == day and local.hour in self.hours and local.minute in self.minutes

    def fits(self, day: date) -> bool:
        """Return whether it fires on a day at all: on either, where both day of month and weekday are given."""
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        both = len(self.days) == 31 or len(self.weekdays) == 7
        return day.month in self.months and (of_month and of_week if both else of_month or of_week)

    def moved(self, minutes: int) -> "Cron":
        """Return the line for a clock that is ahead by so many minutes.

        Raises:
            ParamsError: If one line cannot say that.
        """
        shifted = [hour * 60 + minute + minutes for hour in self.hours for minute in self.minutes]
        times = {at % _DAY for at in shifted}
        hours, minutes_of_hour = _sorted(at // 60 for at in times), _sorted(at % 60 for at in times)
        if len(times) != len(hours) * len(minutes_of_hour):
            raise ParamsError("these hours and minutes fall on times there that one cron line cannot name")
        days = {at // _DAY for at in shifted}
        every_date = len(self.days) == 31 and len(self.months) == 12
        if days == {0} or (every_date and len(self.weekdays) == 7):
            return Cron(minutes_of_hour, hours, self.days, self.months, self.weekdays)
        if every_date and len(days) == 1:
            (by,) = days
            weekdays = _sorted((weekday + by) % 7 for weekday in self.weekdays)
            return Cron(minutes_of_hour, hours, self.days, self.months, weekdays)
        raise ParamsError("midnight lies between the two clocks then, and one cron line cannot name the days there")


@dataclass(frozen=True)
class Schedule:
    """A cron line in a zone, and how Kubeflow, which reads it in another, is told of it."""

    wanted: Cron
    zone: ZoneInfo
    sent: Cron
    read_in: ZoneInfo

    @classmethod
    def plan(cls, line: str, zone: ZoneInfo, read_in: ZoneInfo, now: datetime) -> "Schedule":
        """Rewrite a line for the zone in which Kubeflow reads it, as the clocks stand when it fires next.

        Raises:
            ParamsError: If that cannot be written as a cron line.
        """
        wanted = Cron.parse(line)
        first = wanted.next_time(now, zone) or now
        return cls(wanted, zone, _rewritten(wanted, line, zone, read_in, first), read_in)

    def next_times(self, now: datetime, count: int) -> list[datetime]:
        """Return when Kubeflow starts it next, in UTC."""
        return self.sent.next_times(now, self.read_in, count)

    def surprises(self, now: datetime) -> list[str]:
        """Return what changed clocks do to it within a year, a sentence each."""
        first = now.astimezone(self.zone).date()
        days = [first + timedelta(days=number) for number in range(366)]
        if self.zone.key == self.read_in.key:
            return [told for day in days if _is_changed(self.zone, day) and (told := self._left_out_or_twice(day))]
        began = self.wanted.next_time(now, self.zone) or now
        usual = _ahead(self.read_in, self.zone, began)
        drifts = (self._drift(day) for day in days if self._ahead_at_noon(day) != usual)
        return list(itertools.islice((told for told in drifts if told), 1))

    def _left_out_or_twice(self, day: date) -> str | None:
        usual = self.sent.starts_a_day if self.sent.fits(day) else 0
        found = len(self.sent.times_on(day, self.read_in))
        if found == usual:
            return None
        what = "it is left out, as that time does not exist then" if found < usual else "its time comes twice"
        return f"on {day}, when the clocks of {self.zone.key} are changed, {what}"

    def _ahead_at_noon(self, day: date) -> int:
        return _ahead(self.read_in, self.zone, datetime.combine(day, time(12), self.zone))

    def _drift(self, day: date) -> str | None:
        """Say at what other time than was wanted it starts on a day on which the clocks are no longer as at first."""
        with suppress(ParamsError):
            if self.wanted.moved(self._ahead_at_noon(day)) == self.sent:
                return None
        wanted = self.wanted.times_on(day, self.zone)
        if not wanted or self.sent.next_time(wanted[0] - timedelta(minutes=1), self.read_in) == wanted[0]:
            return None
        got = self.sent.next_time(wanted[0] - timedelta(minutes=90), self.read_in) or wanted[0]
        at, instead = (f"{when.astimezone(self.zone):%H:%M}" for when in (wanted[0], got))
        return f"from {day} on it starts at {instead} of {self.zone.key}, not at {at}"


def read_zone(name: str) -> ZoneInfo:
    """Return a time zone by its name.

    Raises:
        ParamsError: If there is none of that name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise ParamsError(
            f"`{name}` is no time zone known here; wanted one such as Europe/Ljubljana or UTC (or: pip install tzdata)"
        ) from exc


def _rewritten(wanted: Cron, line: str, zone: ZoneInfo, read_in: ZoneInfo, at: datetime) -> Cron:
    try:
        return wanted.moved(_ahead(read_in, zone, at))
    except ParamsError as exc:
        raise ParamsError(
            f"cron `{line}` of {zone.key} cannot be written for {read_in.key}, where Kubeflow reads it: {exc}; "
            f"choose another time, or have Kubeflow read all its schedules in {zone.key}: {read_all_in(zone)}"
        ) from exc


def _ahead(one: ZoneInfo, other: ZoneInfo, at: datetime) -> int:
    """Return by how many minutes one clock is ahead of another."""
    offsets = [at.astimezone(zone).utcoffset() or timedelta() for zone in (one, other)]
    return round((offsets[0] - offsets[1]).total_seconds() / 60)


def _is_changed(zone: ZoneInfo, day: date) -> bool:
    midnights = (datetime.combine(day + timedelta(days=number), time(), zone) for number in (0, 1))
    return len({midnight.utcoffset() for midnight in midnights}) == 2


def read_all_in(zone: ZoneInfo) -> str:
    """Return the command that has Kubeflow read every schedule in the zone, and what to add here then."""
    variable = f"CRON_SCHEDULE_TIMEZONE={zone.key}"
    return (
        f"kubectl -n kubeflow set env deployment/ml-pipeline-scheduledworkflow deployment/ml-pipeline {variable}, "
        f"then --server-time-zone {zone.key}"
    )


def _field(line: str, field: str, lowest: int, highest: int, names: Sequence[str]) -> tuple[int, ...]:
    allowed: set[int] = set()
    for part in field.split(","):
        found = re.fullmatch(r"(?:([*?])|(\w+)(?:-(\w+))?)(?:/(\d+))?", part)
        if not found:
            raise ParamsError(f"cron `{line}`: `{part}` is no number, range, list or step")
        star, start, end, step = found.groups()
        first = lowest if star else _number(line, start, names, lowest)
        last = highest if star or (step and not end) else _number(line, end, names, lowest) if end else first
        if not (lowest <= first <= highest and lowest <= last <= highest):
            raise ParamsError(f"cron `{line}`: `{part}` is not within {lowest} to {highest}")
        if first > last:
            raise ParamsError(
                f"cron `{line}`: `{part}` runs backwards; over the end it is two ranges, "
                f"`{first}-{highest},{lowest}-{last}`"
            )
        if step and int(step) == 0:
            raise ParamsError(f"cron `{line}`: `{part}` has a step of 0; wanted 1 or more")
        allowed.update(range(first, last + 1, int(step or 1)))
    return tuple(sorted(allowed))


def _number(line: str, word: str, names: Sequence[str], lowest: int) -> int:
    if word.lower() in names:
        return names.index(word.lower()) + lowest
    if not word.isascii() or not word.isdigit():
        raise ParamsError(
            f"cron `{line}`: `{word}` is no number" + (f"; names are {', '.join(names)}" if names else "")
        )
    return int(word)


def _written(values: tuple[int, ...], how_many: int) -> str:
    return "*" if len(values) == how_many else ",".join(map(str, values))


def _sorted(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(set(values)))
