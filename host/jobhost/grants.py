"""What a bundle that may mean harm says of itself are requests: what `[[bundles]]` does not grant is refused, and told."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath

from jobhost_runtimes.bundle import BundleSpec, HandlerInfo
from jobhost_runtimes.isolation import CONFINED

from .config.bundles import Bundle
from .config.document import Config
from .config.handlers import HandlerOptions
from .config.queues import queue_settings
from .config.retry import RetryRule


def refused(info: HandlerInfo, code: HandlerOptions, spec: BundleSpec, bundle: Bundle) -> list[str]:
    """What a handler asks for and is not granted; empty where the bundle is trusted with it.

    Without grants a confined bundle gets each file's stem as the name of a job, and the queue `default`.
    """
    if spec.isolation not in CONFINED:
        return []
    every = bundle.job == "*"  # its queues are those of the bundle, if that names any
    wrong = []
    names = [PurePath(info.file).stem] if bundle.names is None else bundle.names
    if not every and not _granted(info.name, names):
        wrong.append(f'the name is not granted: names = ["{info.name}"] in [[bundles]] would allow it')
    queue = code.queue or "default"
    if not (every and bundle.queues) and not _granted(queue, ["default"] if bundle.queues is None else bundle.queues):
        wrong.append(f'the queue {queue!r} is not granted: queues = ["{queue}"] in [[bundles]] would allow it')
    if isinstance(code.breaker, str):
        wrong.append(
            f'the breaker {code.breaker!r} is others\' too: breaker = "{code.breaker}" in [handlers."{info.name}"] would allow it'
        )
    flow = code.flow
    for trigger in flow.emits if flow is not None else ():
        if not _granted(trigger, bundle.emits or []):
            wrong.append(f'the emit {trigger!r} is not granted: emits = ["{trigger}"] in [[bundles]] would allow it')
    for trigger in flow.subscribes if flow is not None else ():
        if not _granted(trigger, bundle.subscribes or []):
            wrong.append(
                f'the subscription {trigger!r} is not granted: subscribes = ["{trigger}"] in [[bundles]] would allow it'
            )
    return wrong


def granted_emits(spec: BundleSpec, bundle: Bundle) -> Sequence[str] | None:
    """Patterns of the triggers that a bundle's runs may emit; None for any. A confined bundle gets none that are not granted."""
    if bundle.emits is not None:
        return bundle.emits
    return [] if spec.isolation in CONFINED else None


def capped(code: HandlerOptions, spec: BundleSpec, config: Config) -> HandlerOptions:
    """A confined handler's own timeout and attempts, no larger than its queue's."""
    if spec.isolation not in CONFINED:
        return code
    queue = queue_settings(config, code.queue or "default")
    timeout, attempts = code.timeout, code.attempts
    if timeout is not None and queue.timeout and (timeout == 0 or timeout > queue.timeout):
        timeout = queue.timeout
    if attempts is not None:
        attempts = min(attempts, queue.attempts)
    retry = code.retry and {name: _capped_rule(rule, queue.attempts) for name, rule in code.retry.items()}
    return replace(code, timeout=timeout, attempts=attempts, retry=retry)


def _capped_rule(rule: RetryRule, most: int) -> RetryRule:
    return rule if rule.attempts is None else replace(rule, attempts=min(rule.attempts, most))


def _granted(wanted: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(wanted, pattern) for pattern in patterns)
