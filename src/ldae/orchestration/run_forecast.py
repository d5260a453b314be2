"""Remaining time of a run: its remaining jobs, placed on its cores as Snakemake would place them.

Jobs of a rule wait for all jobs of the rules that it needs. Snakemake lets a shard go ahead of the
others; so the forecast is a little long while several shards are on their way. Of rules whose jobs
need each other in turn, the first begins.
"""

import heapq
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """Jobs of one rule that still take time.

    Attributes:
        rule: Its name.
        seconds: That each of them takes, or will still take if it runs.
        threads: That each of them occupies.
        jobs: Their number.
    """

    rule: str
    seconds: float
    threads: int = 1
    jobs: int = 1


def remaining_seconds(
    running: Collection[Work],
    waiting: Collection[Work],
    needs: Mapping[str, Collection[str]],
    cores: int,
) -> float:
    """Seconds until all jobs are done.

    Args:
        running, waiting: Jobs that have begun, one of each; rules with jobs that have not, in the
            order in which they may begin.
        needs: Rule -> rules whose jobs come before its own.
        cores: Threads that run at a time; a job that asks for more gets these.
    """
    left = Counter()
    for work in (*running, *waiting):
        left[work.rule] += work.jobs
    queue = {work.rule: work for work in waiting}
    unstarted = {work.rule: work.jobs for work in waiting}
    ends = [(work.seconds, work.rule, min(work.threads, cores)) for work in running]
    heapq.heapify(ends)
    free, now = cores - sum(threads for _, _, threads in ends), 0.0
    while ends or unstarted:
        for rule in list(unstarted):
            if any(left[other] for other in needs.get(rule, ()) if other != rule):
                continue
            threads = min(queue[rule].threads, cores)
            while unstarted.get(rule) and (free >= threads or not ends):
                heapq.heappush(ends, (now + queue[rule].seconds, rule, threads))
                free -= threads
                unstarted[rule] -= 1
            if not unstarted[rule]:
                del unstarted[rule]
        if not ends:  # rules that need each other in turn
            needs = {**needs, next(iter(unstarted)): ()}
            continue
        now, rule, threads = heapq.heappop(ends)
        free += threads
        left[rule] -= 1
    return now
