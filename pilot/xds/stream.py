# SPDX-License-Identifier: Apache-2.0
"""One ADS conversation, delta or state-of-the-world, as a state machine: requests and snapshots in, the next response out.

It is asked (`next`) rather than told: whoever writes to the proxy asks again after each write, each request and each snapshot. So nothing
queues, the newest state always wins, and a slow proxy costs one response of memory.

The order is make before break:

    CDS added and changed -> EDS -> LDS -> RDS -> VHDS -> (all these acknowledged) -> CDS removed

* After a change of an EDS cluster its endpoints follow unasked, even if they did not change: Envoy keeps the new cluster warming until they
  come, and withholds the CDS acknowledgement meanwhile. Hence nothing here ever waits for that one.
* Envoy asks for virtual hosts once, with a wildcard, however many route configurations have discovered ones. So those of a route
  configuration follow it unasked whenever it is asked for: the listener warms until they come.
* Until its removal a cluster's endpoints are left as they were, so that requests which still use the old route are served.
* State-of-the-world cannot say *removed*; it sends the union first and the final set afterwards.
* A type that is due but may not go yet (its gate is closed) holds back the types after it, never those before. Clusters and endpoints
  whose refusal is being looked into hold back listeners and routes likewise.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, NamedTuple

from common.mesh.names import TYPE_CLUSTER, TYPE_ENDPOINT, TYPE_LISTENER, TYPE_ROUTE, TYPE_VIRTUAL_HOST
from pilot.xds.cache import Epoch, Response
from pilot.xds.frames import Framed, Part
from pilot.xds.generator import Proxy, Push
from pilot.xds.nack import Isolation
from pilot.xds.names import EMPTY, NameSets
from pilot.xds.notices import Acked, Converged, Expired, Nacked, Notice, Refused
from pilot.xds.queue import INTERVAL, NEVER
from pilot.xds.requests import Request
from pilot.xds.subscription import ORDER, REMOVED_AT_ONCE, WILDCARD, Sent, Subscription
from pilot.xds.views import View, since

PATIENCE = 5.0
"""Seconds after which an unanswered response (of any type but CDS) no longer holds back the next."""


class Send(NamedTuple):
    """Write `payload` to the proxy, then ask again."""

    type_url: str
    response: Response
    unasked: bool
    resources: int

    @property
    def nonce(self) -> str:
        return self.response.nonce

    @property
    def payload(self) -> bytes:
        """Read it once, when it is written: it may be joined anew each time."""
        return self.response.payload


class Stream(Generic[Push, Proxy]):
    """A conversation with one proxy. Times are seconds of one monotonic clock."""

    def __init__(
        self, proxy: Proxy, epoch: Epoch[Push, Proxy], *, delta: bool, sets: NameSets | None = None, interval: float = INTERVAL
    ) -> None:
        self.proxy, self.epoch, self.is_delta = proxy, epoch, delta
        self.subscriptions: dict[str, Subscription] = {}
        self.wake_at = NEVER
        """When to ask `next` again although nothing happened."""
        self._sets = sets if sets is not None else NameSets()
        self._interval = interval
        self._notices: list[Notice] = []
        self.converged = 0
        """Newest epoch of which the proxy has acknowledged everything but what it refuses."""
        self._reverted: frozenset[str] = EMPTY
        self._endpoints_due: frozenset[str] = EMPTY  # clusters came before the proxy asked for endpoints
        self._routes_due: frozenset[str] = EMPTY  # route configurations that were asked for before the proxy asked for virtual hosts
        self._resumes_until = -NEVER  # until then a proxy that reconnected may still name the listeners and routes that it holds

    def notices(self) -> list[Notice]:
        """What happened since the last call."""
        taken, self._notices = self._notices, []
        return taken

    def offer(self, epoch: Epoch[Push, Proxy]) -> None:
        """There is a newer snapshot."""
        kept = epoch.unchanged if epoch.number == self.epoch.number + 1 else EMPTY
        self.epoch = epoch
        for subscription in self.subscriptions.values():
            if subscription.type_url not in kept:
                subscription.target = None

    def wanted(self) -> list[tuple[str, frozenset[str] | None]]:
        """The views that this stream will ask its next epoch for."""
        return [(subscription.type_url, self._names(subscription)) for subscription in self.subscriptions.values()]

    def _names(self, subscription: Subscription) -> frozenset[str] | None:
        """What the type's view depends on: the subscribed names, of virtual hosts those of the route configurations, else nothing."""
        if subscription.type_url == TYPE_VIRTUAL_HOST:
            routes = self.subscriptions.get(TYPE_ROUTE)
            return routes.names if routes is not None else EMPTY
        return None if subscription.type_url in WILDCARD else subscription.names

    # -- requests -------------------------------------------------------------------------------------------------------------------

    def receive(self, request: Request, now: float) -> None:
        """Take a request: subscription, acknowledgement or refusal. Unknown types are ignored."""
        if request.type_url not in ORDER or (request.type_url == TYPE_VIRTUAL_HOST and not self.is_delta):
            return
        subscription = self.subscriptions.get(request.type_url)
        if subscription is None:
            self._subscribe(request, now)
            return
        answers_newest = request.nonce == subscription.nonce_sent
        if request.nonce:
            self._answer(subscription, request, now)
        if self.is_delta:
            self._follow(subscription, request.subscribe, request.unsubscribe)
        elif request.names is not None and (answers_newest or not request.nonce):  # a refusal carries names like any other answer
            self._follow_all(subscription, request.names, again=not request.nonce)

    def _subscribe(self, request: Request, now: float) -> None:
        names = request.subscribe if request.names is None else request.names
        wildcard = request.type_url in WILDCARD and (not names or "*" in names)
        if not (names or wildcard):
            return
        subscription = Subscription(request.type_url, None if wildcard else names, self._interval)
        if request.known:
            subscription.known = request.known
            self._resumes_until = now + PATIENCE
        if request.type_url == TYPE_ENDPOINT:
            subscription.resend = self._endpoints_due
            self._endpoints_due = EMPTY
        elif request.type_url == TYPE_VIRTUAL_HOST:  # what it says to hold it had before it asked for these anew
            subscription.routes, self._routes_due = self._routes_due if request.known else EMPTY, EMPTY
        elif request.type_url == TYPE_ROUTE:
            self._follow_with_virtual_hosts(names - request.known.keys() if request.known else names)
        self.subscriptions[request.type_url] = subscription

    def _follow(self, subscription: Subscription, more: frozenset[str], fewer: frozenset[str]) -> None:
        if not more and not fewer:
            return
        subscription.target = None
        if subscription.names is None or "*" in more:
            subscription.names = None
        else:
            subscription.names = self._sets.intern((subscription.names | more) - fewer)
        if more:
            subscription.asked = subscription.asked | more if subscription.asked else more
            subscription.owed = True
        if subscription.type_url == TYPE_ROUTE:
            self._follow_with_virtual_hosts(more)

    def _follow_all(self, subscription: Subscription, names: frozenset[str], *, again: bool) -> None:
        if names is subscription.names and not again:
            return
        if subscription.type_url in WILDCARD and (not names or "*" in names):
            subscription.owed = subscription.owed or again or subscription.names is not None
            subscription.names, subscription.target = None, None
            return
        added = names if again or subscription.names is None else names - subscription.names
        subscription.names, subscription.target = names, None
        if added:
            subscription.asked = self._sets.intern(subscription.asked | added)
            subscription.owed = True

    def _answer(self, subscription: Subscription, request: Request, now: float) -> None:
        sent = subscription.answered(request.nonce)
        if sent is None:
            if request.nonce != subscription.nonce_sent:
                self._notices.append(Expired(request.type_url, request.nonce))
            return
        if request.error is None:
            self._accepted(subscription, sent, now)
        else:
            self._refused(subscription, sent, request.error)

    def _accepted(self, subscription: Subscription, sent: Sent, now: float) -> None:
        subscription.nonce_acked, subscription.acked_epoch, subscription.acked_view = sent.nonce, sent.epoch, sent.view
        trouble = subscription.trouble
        if trouble is not None:
            trouble.answered(sent.nonce, accepted=True)
            for part in sent.parts:
                trouble.took(part.frames)
            trouble.forget(name for name in tuple(trouble.accepted) if sent.view.get(name) is None and name not in subscription.ghosts)
            if not trouble:
                subscription.error = ""
            if not (trouble.accepted or trouble.doubtful):
                subscription.trouble = None
        else:
            subscription.error = ""
        self._notices.append(Acked(subscription.type_url, sent.nonce, sent.parts, sent.epoch, now - sent.at))

    def _refused(self, subscription: Subscription, sent: Sent, message: str) -> None:
        subscription.error = message
        self._notices.append(Nacked(subscription.type_url, sent.nonce, message))
        together = subscription.type_url == TYPE_VIRTUAL_HOST
        if together:  # Envoy applies nothing of a route configuration's virtual hosts if one is refused
            subscription.resend = subscription.resend | frozenset(sent.removed)
        trouble = subscription.trouble if subscription.trouble is not None else Isolation(together=together)
        on_trial = trouble.answered(sent.nonce, accepted=False)

        def before(name: str) -> Framed | None:
            """What the proxy really has."""
            if name in trouble.accepted:
                return trouble.accepted[name]
            return subscription.acked_view.get(name) if subscription.acked_view is not None else None

        repeats = not self.is_delta and subscription.type_url in WILDCARD and not on_trial

        def innocent(frame: Framed) -> bool:
            """State of the world repeats clusters and listeners that were accepted long ago."""
            return repeats and frame.name not in trouble.doubtful and not _differs(before(frame.name), frame)

        suspects = [frame for part in sent.suspects for frame in part.frames if not innocent(frame)]
        newest = []
        for frame in suspects:
            now = subscription.view.get(frame.name) if subscription.view is not None else None
            if now is not None and now.version == frame.version:
                newest.append(frame)
            elif now is None and frame.name in subscription.ghosts:
                self._revert(subscription, frame.name, before(frame.name))
            else:
                trouble.doubtful.add(frame.name)
        if trouble.doubtful:
            subscription.trouble = trouble
        if newest:
            for refusal in trouble.refused(newest, message, before, sole=len(suspects) == 1, acked_epoch=subscription.acked_epoch):
                frame = refusal.frame
                self._notices.append(Refused(subscription.type_url, frame.name, frame.version, frame.sources, message, refusal.since))
            subscription.trouble = trouble
            subscription.target = None  # look again: some suspects may be out of date already

    # -- responses ------------------------------------------------------------------------------------------------------------------

    def next(self, now: float) -> Send | None:
        """The response to write now, if any; otherwise `wake_at` says when time alone will bring one."""
        self.wake_at = NEVER
        for type_url in ORDER:
            subscription = self.subscriptions.get(type_url)
            if subscription is None:
                continue
            if type_url == TYPE_VIRTUAL_HOST and TYPE_ROUTE not in self.subscriptions and now < self._resumes_until:
                self.wake_at = self._resumes_until  # until then none of those that it holds is known to be gone
                continue
            if type_url == TYPE_ROUTE and (sent := self._forgotten(now)) is not None:
                return sent
            if type_url == TYPE_LISTENER and self._under_trial(now):
                return None
            self._look(subscription)
            if subscription.settled:
                continue
            sent = self._due(subscription, now)
            if sent is not None:
                return sent
            if self.wake_at < NEVER:
                return None  # this type waits, and so do those after it
        sent = self._removals(now)
        if sent is None and self.wake_at == NEVER:
            self._note_convergence()
        return sent

    def _under_trial(self, now: float) -> bool:
        """Whether clusters or endpoints are being tried one by one: what refers to them waits for the result, but not for ever."""
        for type_url in (TYPE_CLUSTER, TYPE_ENDPOINT):
            subscription = self.subscriptions.get(type_url)
            if subscription is None or subscription.trouble is None or not subscription.trouble.is_trying:
                continue
            if now < subscription.sent_at + PATIENCE:
                self.wake_at = subscription.sent_at + PATIENCE
                return True
        return False

    def _forgotten(self, now: float) -> Send | None:
        """Before a route configuration that the proxy dropped and wants again: else, were the stream lost now, it would say to hold its hosts."""
        hosts = self.subscriptions.get(TYPE_VIRTUAL_HOST)
        if hosts is None or hosts.view is None or hosts.routes is hosts.forgotten:
            return None
        again, hosts.forgotten = hosts.routes - hosts.forgotten, hosts.routes
        names = tuple([frame.name for frame in hosts.view if frame.name.rpartition("/")[0] in again])
        return self._send(hosts, hosts.view, (), names, now, unasked=False) if names else None

    def _look(self, subscription: Subscription) -> View:
        if subscription.target is None:
            target = self.epoch.view(self.proxy, subscription.type_url, self._names(subscription))
            if subscription.type_url in WILDCARD and subscription.names is not None:
                target = self.epoch.restricted(target, subscription.names)
            subscription.target = target
            if subscription.trouble is not None:
                self._review(subscription, subscription.trouble, target)
        return subscription.target

    def _review(self, subscription: Subscription, trouble: Isolation, target: View) -> None:
        """Suspects that changed may go again. Clusters that went leave the form behind that the proxy really has."""
        freed = trouble.review(target)
        gone = {name for name in freed if target.get(name) is None}
        subscription.resend = subscription.resend | (freed - gone)
        if subscription.type_url == TYPE_CLUSTER:
            for name in gone:
                self._revert(subscription, name, trouble.accepted.get(name))

    def _revert(self, clusters: Subscription, name: str, accepted: Framed | None) -> None:
        """A cluster about to go has this form at the proxy, not the refused one; saying so may make it need its endpoints again."""
        clusters.ghosts[name] = accepted
        if accepted is not None and accepted.eds_name:
            self._reverted |= {accepted.eds_name}

    def _due(self, subscription: Subscription, now: float) -> Send | None:
        """An answer, a push or a trial of suspects. Sets `wake_at` when one is due but may not go yet."""
        target = self._look(subscription)
        asked = subscription.owed
        if self._must_not_disturb(subscription) and not asked:
            return None
        parts, removed = self._changes(subscription, target)
        asked = asked or bool(parts and subscription.routes)
        if not (asked or parts or removed):
            self._turn_to(subscription, target)
            return self._trial(subscription, target, now)
        if not asked:
            wait = self._held_until(subscription, now)
            if wait > now:
                self.wake_at = wait
                return None
        self._turn_to(subscription, target)
        if subscription.type_url == TYPE_CLUSTER:
            for part in parts:
                self._follow_with_endpoints(part.eds_names)
        return self._send(subscription, target, parts, removed, now, unasked=not asked)

    def _must_not_disturb(self, subscription: Subscription) -> bool:
        """State of the world: a push beside a trial would say again what the trial is about, and so undo it."""
        trouble = subscription.trouble
        return not self.is_delta and subscription.type_url in WILDCARD and trouble is not None and trouble.is_out

    def _changes(self, subscription: Subscription, target: View) -> tuple[tuple[Part, ...], tuple[str, ...]]:
        """What is new for the client, and the names to call removed. Changes nothing: it may not be the time to send it."""
        if subscription.known is not None:
            parts = since(subscription.known, target)
        else:
            parts = self.epoch.step(subscription.view, target)
        removed: tuple[str, ...] = ()
        if subscription.type_url in REMOVED_AT_ONCE:
            removed = tuple([name for name, _ in self._gone(subscription, target)])
        parts = self._without_excluded(subscription, parts)
        again = subscription.resend or subscription.asked
        if subscription.resend and subscription.asked:
            again = subscription.resend | subscription.asked
        if subscription.routes:
            again |= {frame.name for frame in target if frame.name.rpartition("/")[0] in subscription.routes}
        if again:
            parts, unknown = self._again(subscription, target, again, parts)
            removed = tuple(dict.fromkeys((*removed, *unknown)))
        if not any(part.frames for part in parts):
            parts = ()
        return parts, removed

    def _gone(self, subscription: Subscription, target: View) -> list[tuple[str, Framed | None]]:
        """What the client has, as it has it (None: not known), and should not have any more."""
        if subscription.known is not None:
            return [(name, None) for name in subscription.known if target.get(name) is None]
        before = subscription.view
        if before is None:
            return []
        return [(name, before.get(name)) for part in self.epoch.step(before, target) for name in part.removed]

    def _without_excluded(self, subscription: Subscription, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        """Leave out what is held back, endpoints of clusters about to go, and routes that turned unknown while a listener may still use them."""
        trouble, view = subscription.trouble, subscription.view
        frozen: set[str] = set()
        if subscription.type_url == TYPE_ENDPOINT:
            frozen = self._freeze_endpoints(subscription)
        elif subscription.type_url == TYPE_ROUTE and view is not None:
            frozen = {
                frame.name
                for part in parts
                for frame in part.frames
                if frame.name_only and (old := view.get(frame.name)) is not None and not old.name_only
            }
        if not (trouble or frozen):
            return parts
        kept = [
            frame
            for part in parts
            for frame in part.frames
            if frame.name not in frozen and not (trouble is not None and trouble.excluded(frame.name))
        ]
        return (Part(tuple(kept)),) if kept else ()

    def _freeze_endpoints(self, subscription: Subscription) -> set[str]:
        """Names of the endpoints of clusters about to go, with the form to send should Envoy need them once more."""
        clusters = self.subscriptions.get(TYPE_CLUSTER)
        if clusters is None or not clusters.ghosts:
            subscription.ghosts.clear()
            return set()
        frozen = {frame.eds_name or name if frame is not None else name for name, frame in clusters.ghosts.items()}
        for name in frozen - subscription.ghosts.keys():
            subscription.ghosts[name] = subscription.view.get(name) if subscription.view is not None else None
        for name in subscription.ghosts.keys() - frozen:
            del subscription.ghosts[name]
        return frozen

    def _again(
        self, subscription: Subscription, target: View, names: frozenset[str], parts: tuple[Part, ...]
    ) -> tuple[tuple[Part, ...], tuple[str, ...]]:
        """Add resources that are due although they did not change. Returns asked names that do not exist, too."""
        trouble = subscription.trouble
        if trouble is not None:
            names = frozenset(name for name in names if name in subscription.asked or not trouble.excluded(name))
        if subscription.type_url == TYPE_ENDPOINT and subscription.ghosts:
            if subscription.known is not None:  # without an answer it goes on with what it holds until the cluster is removed
                held = subscription.known.keys()
                names -= {name for name, frame in subscription.ghosts.items() if frame is None and name in held}
            ghosts = tuple([frame for name in sorted(names) if (frame := subscription.ghosts.get(name)) is not None])
            parts = (*parts, Part(ghosts)) if ghosts else parts
        parts = self.epoch.again(target, names, parts)
        if subscription.type_url in WILDCARD:
            named = names if subscription.type_url == TYPE_VIRTUAL_HOST else subscription.asked
            return parts, tuple(sorted(name for name in named if name != "*" and target.get(name) is None))
        if subscription.names is not None and not names <= subscription.names:  # endpoints of new clusters, before Envoy asks for them
            ahead = self.epoch.view(self.proxy, subscription.type_url, self._sets.intern(names - subscription.names))
            parts = (*parts, Part(tuple(ahead)))
        return parts, ()

    def _held_until(self, subscription: Subscription, now: float) -> float:
        until = subscription.gate.opens_at
        if subscription.waiting and subscription.type_url != TYPE_CLUSTER:
            until = max(until, subscription.sent_at + PATIENCE)
        return until

    def _turn_to(self, subscription: Subscription, target: View) -> None:
        """From now on `target` is what the client was sent. Clusters that it lacks become ghosts."""
        if subscription.type_url == TYPE_CLUSTER:
            for name, frame in self._gone(subscription, target):
                subscription.ghosts.setdefault(name, frame)
            for name in [name for name in subscription.ghosts if target.get(name) is not None]:
                del subscription.ghosts[name]
        subscription.view = target
        subscription.known = None
        subscription.asked = subscription.resend = subscription.routes = subscription.forgotten = EMPTY
        subscription.owed = False

    def _follow_with_endpoints(self, names: frozenset[str]) -> None:
        endpoints = self.subscriptions.get(TYPE_ENDPOINT)
        if not names:
            return
        if endpoints is None:
            self._endpoints_due = self._endpoints_due | names if self._endpoints_due else names
        else:  # the very set of the part, if it can be: streams that share it share the response too
            endpoints.resend = endpoints.resend | names if endpoints.resend else names

    def _follow_with_virtual_hosts(self, routes: frozenset[str], *, held: bool = False) -> None:
        """`held`: the proxy may have these route configurations, and use the virtual hosts that it was sent."""
        virtual_hosts = self.subscriptions.get(TYPE_VIRTUAL_HOST)
        if virtual_hosts is None:
            self._routes_due = self._routes_due | routes if self._routes_due else routes
        else:
            virtual_hosts.target = None
            virtual_hosts.routes = virtual_hosts.routes | routes
            virtual_hosts.forgotten = virtual_hosts.forgotten | routes if held else virtual_hosts.forgotten - routes

    def _trial(self, subscription: Subscription, target: View, now: float) -> Send | None:
        """The next batch of suspects, once the answer to the one before is in."""
        trouble = subscription.trouble
        if trouble is None or not trouble.is_trying:
            return None
        if subscription.waiting and now < subscription.sent_at + PATIENCE:
            return None
        batch = trouble.next()
        if not batch:
            return None
        parts = (Part(batch),)
        if subscription.type_url == TYPE_CLUSTER:
            self._follow_with_endpoints(parts[0].eds_names)
        elif subscription.type_url == TYPE_ROUTE:  # those that came after the refused response found nobody who waited for them
            self._follow_with_virtual_hosts(frozenset(frame.name for frame in batch), held=True)
        send = self._send(subscription, target, parts, (), now, unasked=True, trial=frozenset(frame.name for frame in batch))
        trouble.sent(send.nonce)
        return send

    def _removals(self, now: float) -> Send | None:
        """Clusters that nothing at the client refers to any more: its listeners and routes are the newest, and it has said so."""
        clusters = self.subscriptions.get(TYPE_CLUSTER)
        if clusters is None or not clusters.ghosts or self._must_not_disturb(clusters):
            return None
        if TYPE_LISTENER not in self.subscriptions and now < self._resumes_until:
            self.wake_at = self._resumes_until
            return None
        for type_url in (TYPE_LISTENER, TYPE_ROUTE, TYPE_VIRTUAL_HOST):
            subscription = self.subscriptions.get(type_url)
            if subscription is not None and not subscription.settled:
                return None
        if not clusters.gate.is_open(now):
            self.wake_at = clusters.gate.opens_at
            return None
        gone = tuple(clusters.ghosts)
        clusters.ghosts.clear()
        return self._send(clusters, self._look(clusters), (), gone, now, unasked=True)

    # -- bytes ----------------------------------------------------------------------------------------------------------------------

    def _send(
        self,
        subscription: Subscription,
        target: View,
        parts: tuple[Part, ...],
        removed: Iterable[str],
        now: float,
        *,
        unasked: bool,
        trial: frozenset[str] = EMPTY,
    ) -> Send:
        type_url, unlike = subscription.type_url, subscription.nonce_sent
        removed = tuple(removed)
        response: Response
        suspects = parts
        if self.is_delta:
            response = self.epoch.delta(type_url, parts, removed, unlike=unlike)
            resources = sum(len(part.frames) for part in parts)
        else:
            whole = self._whole(subscription, target, trial) if type_url in WILDCARD else parts
            suspects = parts if trial else whole
            response = self.epoch.sotw(type_url, whole, unlike=unlike)
            resources = sum(len(part.frames) for part in whole)
        subscription.nonce_sent, subscription.sent_at = response.nonce, now
        subscription.waiting[response.nonce] = Sent(response.nonce, parts, suspects, removed, target, self.epoch.number, now)
        if unasked:
            subscription.gate.passed(now)
        return Send(type_url, response, unasked, resources)

    def _whole(self, subscription: Subscription, target: View, trial: frozenset[str]) -> tuple[Part, ...]:
        """State of the world: everything, ghosts too, and the last accepted form of what is under suspicion."""
        trouble = subscription.trouble
        if subscription.type_url == TYPE_CLUSTER and self._reverted:
            self._follow_with_endpoints(self._reverted)
            self._reverted = EMPTY
        ghosts = tuple([frame for frame in subscription.ghosts.values() if frame is not None])
        if trouble is None:
            parts = tuple([group.content for group in target.groups if group.resources])
            return (*parts, Part(ghosts)) if ghosts else parts
        frames = []
        unsure = set()
        for frame in target:
            shown: Framed | None = frame
            if trouble.excluded(frame.name):
                shown = frame if frame.name in trial else trouble.accepted.get(frame.name)
                if shown is not None and shown.eds_name:
                    unsure.add(shown.eds_name)
            if shown is not None:
                frames.append(shown)
        self._follow_with_endpoints(frozenset(unsure))  # a refused response may have changed it: this may change it back
        return (Part((*frames, *ghosts)),)

    def _note_convergence(self) -> None:
        if self.converged < self.epoch.number and self.subscriptions and all(sub.at_rest for sub in self.subscriptions.values()):
            self.converged = self.epoch.number
            self._notices.append(Converged(self.epoch.number))


def _differs(old: Framed | None, new: Framed) -> bool:
    return old is None or old.version != new.version
