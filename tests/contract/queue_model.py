"""A queue in the plainest words: one list of jobs that is searched from the start each time.

What the backends do with heaps and indexes is compared with this. Everything is decided by the fields of a job here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

READY = ("waiting", "prioritized")
FINISHED = ("completed", "failed")


@dataclass
class ModelJob:
    id: str
    name: str
    seq: int
    rank: int
    priority: int
    state: str
    due: int = 0
    attempts: int = 0
    stalled: int = 0
    cancel: bool = False
    claim: int = 0
    """Number of the claim that holds it."""
    lease_until: int = 0
    finished: int = 0
    """Place in the order of finishing."""


@dataclass
class Model:
    now: int
    jobs: list[ModelJob] = field(default_factory=list)
    paused: bool = False
    last_seq: int = 0
    last_id: int = 0
    last_claim: int = 0
    last_finished: int = 0

    def find(self, id: str) -> ModelJob | None:
        return next((job for job in self.jobs if job.id == id), None)

    def add(self, name: str, id: str | None, priority: int, lifo: bool, delay: int) -> tuple[str, bool]:
        if id is not None and self.find(id):
            return id, False
        while id is None:
            self.last_id += 1
            id = str(self.last_id) if not self.find(str(self.last_id)) else None
        self.last_seq += 1
        job = ModelJob(id, name, self.last_seq, -self.last_seq if lifo else self.last_seq, priority, "")
        self.jobs.append(job)
        self.put_back(job, delay)
        return id, True

    def put_back(self, job: ModelJob, delay: int) -> None:
        job.state = "delayed" if delay else "prioritized" if job.priority else "waiting"
        job.due = self.now + delay
        job.claim = 0

    def finish(self, job: ModelJob, state: str) -> None:
        self.last_finished += 1
        job.state, job.finished, job.claim, job.cancel = state, self.last_finished, 0, False

    def claim(self, limit: int, free: dict[str, int], lease: int) -> list[str]:
        if self.paused:
            return []
        self.last_claim += 1
        for job in self.jobs:
            if job.state == "delayed" and job.due <= self.now:
                self.put_back(job, 0)
        taken: list[str] = []
        for job in sorted(self.jobs, key=lambda job: (job.priority, job.rank)):
            if job.state in READY and len(taken) < limit and free.get(job.name, 1) > 0:
                free[job.name] = free.get(job.name, limit + 1) - 1
                job.state, job.claim, job.lease_until = "active", self.last_claim, self.now + lease
                taken.append(job.id)
        return taken

    def held(self, id: str, claim: int) -> ModelJob | None:
        job = self.find(id)
        return job if job and job.state == "active" and job.claim == claim else None

    def settle(self, id: str, claim: int, to: str, delay: int, used: bool, keep: int | None) -> bool:
        job = self.held(id, claim)
        if job is None:
            return False
        job.attempts += used
        if to in FINISHED:
            self.finish(job, to)
            self.prune(to, keep)
        elif job.cancel:
            self.finish(job, "failed")
            self.prune("failed", keep)
        else:
            self.put_back(job, delay if to == "delayed" else 0)
        return True

    def prune(self, state: str, keep: int | None) -> None:
        finished = sorted((job for job in self.jobs if job.state == state), key=lambda job: job.finished)
        for job in finished[: len(finished) - keep] if keep is not None and len(finished) > keep else ():
            self.jobs.remove(job)

    def renew(self, id: str, claim: int, lease: int) -> str:
        job = self.held(id, claim)
        if job is None:
            return "lost"
        job.lease_until = self.now + lease
        return "cancel" if job.cancel else "ok"

    def recover(self, most: int) -> tuple[list[str], list[str]]:
        waiting: list[str] = []
        failed: list[str] = []
        for job in self.jobs:
            if job.state == "active" and job.lease_until <= self.now:
                job.stalled += 1
                if job.cancel or job.stalled > most:
                    self.finish(job, "failed")
                    failed.append(job.id)
                else:
                    self.put_back(job, 0)
                    waiting.append(job.id)
        return waiting, failed

    def retry(self, id: str) -> bool:
        job = self.find(id)
        if job is None or job.state not in FINISHED:
            return False
        job.attempts = job.stalled = 0
        self.put_back(job, 0)
        return True

    def cancel(self, id: str) -> str:
        job = self.find(id)
        if job is None:
            return "missing"
        if job.state in FINISHED:
            return "finished"
        if job.state == "active":
            job.cancel = True
            return "requested"
        self.finish(job, "failed")
        return "cancelled"

    def promote(self, id: str) -> bool:
        job = self.find(id)
        if job is None or job.state != "delayed":
            return False
        self.put_back(job, 0)
        return True

    def remove(self, id: str) -> bool | None:
        """None: it is active."""
        job = self.find(id)
        if job is None:
            return False
        if job.state == "active":
            return None
        self.jobs.remove(job)
        return True

    def drain(self, delayed: bool) -> int:
        gone = [job for job in self.jobs if job.state in READY or (delayed and job.state == "delayed")]
        self.jobs = [job for job in self.jobs if job not in gone]
        return len(gone)
