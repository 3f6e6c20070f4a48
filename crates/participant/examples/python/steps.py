"""What is the same for every participant: the step table, the watermark and SagaParticipantService."""

import sqlite3
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import grpc

sys.path.insert(0, str(Path(__file__).with_name("gen")))
from commerce.saga.v1 import participant_pb2 as saga
from commerce.saga.v1 import participant_pb2_grpc, step_pb2
from commerce.saga.v1.step_pb2 import (
    STEP_STATE_COMPENSATED as COMPENSATED,
    STEP_STATE_DONE as DONE,
    STEP_STATE_NOTHING as NOTHING,
    STEP_STATE_PURGED as PURGED,
    STEP_STATE_REJECTED as REJECTED,
    STEP_STATE_TOMBSTONE as TOMBSTONE,
    StepOutcome,
    StepRefusal,
    StepRejection,
)


class Status(Exception):
    """A call that is answered with a status: nothing is known of its step."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code, self.message = code, message


@dataclass
class Action:
    """One action. `run(db, payload)` answers a reply or a StepRejection; after an exception the transaction is rolled
    back."""

    role: int
    rejections: list
    payload: type
    run: Callable


@dataclass
class Row:
    """One row of the step table. `reply` is the reply, the encoded rejection, or the reason of a void."""

    state: int
    digest: bytes = b""
    reply: bytes = b""


class Steps:
    """Keeps the step table of one participant."""

    def __init__(self, db, participant, actions, undo):
        self.db, self.participant, self.actions, self.undo = db, participant, actions, undo
        self.lock = threading.Lock()

    def act(self, method, key, payload, deadline=None):
        """Runs an action at most once. The row is looked at before any business rule."""
        action = self.actions.get(method)
        if action is None:
            raise Status(grpc.StatusCode.UNIMPLEMENTED, f"no action {method}")
        check_key(key)
        with self.transaction(deadline):
            row = self.find(key)
            if row.state == PURGED:
                return refused(step_pb2.STEP_REFUSAL_REASON_PURGED)
            if row.state in (COMPENSATED, TOMBSTONE):
                return refused(step_pb2.STEP_REFUSAL_REASON_TOMBSTONED)
            if row.state == NOTHING:
                result = action.run(self.db, decode(action.payload, payload))
                state = REJECTED if isinstance(result, StepRejection) else DONE
                row = Row(state, key.content_digest, result.SerializeToString())
                self.insert(key, row)
            elif row.digest != key.content_digest:
                return refused(step_pb2.STEP_REFUSAL_REASON_OTHER_CONTENT)
        if row.state == DONE:
            return StepOutcome(done=row.reply)
        return StepOutcome(rejected=StepRejection.FromString(row.reply))

    def compensate(self, key, deadline=None):
        """Undoes a done step, or closes one that has not run."""
        check_key(key)
        with self.transaction(deadline):
            row = self.find(key)
            if row.state == NOTHING:
                self.insert(key, Row(TOMBSTONE))
            elif row.state == DONE:
                self.undo(self.db, row.reply)
                self.db.execute(
                    "UPDATE saga_step SET state = ? WHERE saga_id = ? AND step = ?", (COMPENSATED, key.saga_id, key.step)
                )
        answer = saga.CompensateResponse(found=row.state)
        if row.state == REJECTED:
            answer.rejection.ParseFromString(row.reply)
        return answer

    def void(self, key, reason, deadline=None):
        """Closes a pivot that has not run. One that is done is left."""
        check_key(key)
        if not 1 <= len(reason) <= 64:
            raise Status(grpc.StatusCode.INVALID_ARGUMENT, "reason must be 1 to 64 characters")
        with self.transaction(deadline):
            row = self.find(key)
            if row.state == NOTHING:
                self.insert(key, Row(TOMBSTONE, reply=reason.encode()))
        answer = saga.VoidResponse(found=row.state)
        if row.state == NOTHING:
            answer.reason = reason
        elif row.state == TOMBSTONE:
            answer.reason = row.reply.decode()
        elif row.state == DONE:
            answer.reply = row.reply
        elif row.state == REJECTED:
            answer.rejection.ParseFromString(row.reply)
        return answer

    def records(self, saga_ids):
        """Reads all rows of sagas, by saga and step."""
        with self.transaction():
            for saga_id in sorted(set(saga_ids)):
                rows = self.db.execute(
                    "SELECT step, state, reply, created_at FROM saga_step WHERE saga_id = ? ORDER BY step", (saga_id,)
                )
                for step, state, reply, created_at in rows.fetchall():
                    record = step_pb2.StepRecord(key=step_pb2.StepKey(saga_id=saga_id, step=step), state=state)
                    record.at.FromMilliseconds(created_at)
                    if state == REJECTED:
                        record.rejection.ParseFromString(reply)
                    elif state == TOMBSTONE:
                        record.void_reason = reply.decode()
                    else:
                        record.reply = reply
                    yield record

    def raise_watermark(self, to):
        """Raises the watermark and answers it. It never falls."""
        with self.transaction():
            self.db.execute("UPDATE saga_watermark SET watermark = max(watermark, ?)", (to,))
            return self.watermark()

    def purge(self):
        """Deletes rows of sagas that are over. The watermark was committed before, so nobody can run their steps again."""
        with self.transaction():
            self.db.execute("DELETE FROM saga_step WHERE saga_id <= ?", (self.watermark(),))

    def typed(self, method, request, response, context):
        """Answers an action's own call. Every outcome has the field numbers of StepOutcome, so its encoding is the
        same."""
        with answering(context):
            key = key_of(request)
            check_key(key)
            if not request.HasField("payload"):
                raise Status(grpc.StatusCode.INVALID_ARGUMENT, "payload is required")
            outcome = self.act(method, key, request.payload.SerializeToString())
            return response.FromString(outcome.SerializeToString())

    def find(self, key):
        """Reads a step's row. Where there is none its state is NOTHING or PURGED. The transaction has held the write lock
        since before the first read, so that neither the row nor the watermark changes until the commit."""
        row = self.db.execute(
            "SELECT state, content_digest, reply FROM saga_step WHERE saga_id = ? AND step = ?", (key.saga_id, key.step)
        ).fetchone()
        if row:
            return Row(*row)
        return Row(PURGED if key.saga_id <= self.watermark() else NOTHING)

    def watermark(self):
        return self.db.execute("SELECT watermark FROM saga_watermark").fetchone()[0]

    def insert(self, key, row):
        self.db.execute(
            "INSERT INTO saga_step VALUES (?, ?, ?, ?, ?, ?)",
            (key.saga_id, key.step, row.state, row.digest, row.reply, time.time_ns() // 1_000_000),
        )

    @contextmanager
    def transaction(self, deadline=None):
        """Commits what its block did, or nothing. An error of the database says that nothing is known."""
        wait = -1 if deadline is None else max(0, deadline - time.monotonic())
        if not self.lock.acquire(timeout=wait):
            raise Status(grpc.StatusCode.DEADLINE_EXCEEDED, "the database was busy for too long")
        try:
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.db.execute("COMMIT")
            except BaseException:
                self.db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise Status(grpc.StatusCode.UNAVAILABLE, str(error)) from error
        finally:
            self.lock.release()


class SagaParticipant(participant_pb2_grpc.SagaParticipantServiceServicer):
    """Serves SagaParticipantService."""

    def __init__(self, steps):
        self.steps = steps

    def Describe(self, request, context):
        with answering(context):
            self.check(request)
            actions = sorted(self.steps.actions.items())
            described = [saga.Action(method=name, role=it.role, rejections=it.rejections) for name, it in actions]
            return saga.DescribeResponse(actions=described)

    def Compensate(self, request, context):
        with answering(context):
            self.check(request)
            return self.steps.compensate(key_of(request))

    def Void(self, request, context):
        with answering(context):
            self.check(request)
            return self.steps.void(key_of(request), request.reason)

    def RunSteps(self, request, context):
        with answering(context):
            self.check(request)
            if not 1 <= len(request.calls) <= 512:
                raise Status(grpc.StatusCode.INVALID_ARGUMENT, "calls must be 1 to 512")
        began = time.monotonic()
        for place, call in enumerate(request.calls):
            answer = saga.StepAnswer(call=place)
            try:
                self.answer(call, began, answer)
            except Status as status:
                answer.error.code, answer.error.message = status.code.value[0], status.message
            except Exception:
                answer.error.code, answer.error.message = grpc.StatusCode.INTERNAL.value[0], "the step failed"
            yield saga.RunStepsResponse(answers=[answer])

    def answer(self, call, began, answer):
        if not 1 <= call.remaining_millis <= 60_000:
            raise Status(grpc.StatusCode.INVALID_ARGUMENT, "remaining_millis must be 1 to 60000")
        deadline = began + call.remaining_millis / 1000
        kind = call.WhichOneof("call")
        if kind == "action":
            outcome = self.steps.act(call.action.method, key_of(call), call.action.payload, deadline)
            answer.outcome.CopyFrom(outcome)
        elif kind == "compensation":
            answer.compensation.CopyFrom(self.steps.compensate(key_of(call), deadline))
        elif kind == "void":
            answer.void.CopyFrom(self.steps.void(key_of(call), call.void.reason, deadline))
        else:
            raise Status(grpc.StatusCode.INVALID_ARGUMENT, "a call has an action, a compensation or a void")

    def GetSteps(self, request, context):
        with answering(context):
            self.check(request)
            if not 1 <= len(request.saga_ids) <= 16 or any(len(it) != 16 for it in request.saga_ids):
                raise Status(grpc.StatusCode.INVALID_ARGUMENT, "saga_ids must be 1 to 16, of 16 bytes each")
            return saga.GetStepsResponse(records=self.steps.records(request.saga_ids))

    def RaiseWatermark(self, request, context):
        with answering(context):
            self.check(request)
            if len(request.watermark) != 16:
                raise Status(grpc.StatusCode.INVALID_ARGUMENT, "watermark must be 16 bytes")
            return saga.RaiseWatermarkResponse(watermark=self.steps.raise_watermark(request.watermark))

    def check(self, request):
        if request.participant != self.steps.participant:
            raise Status(grpc.StatusCode.UNIMPLEMENTED, f"no participant {request.participant} here")


@contextmanager
def answering(context):
    """Turns a Status that its block raises into the call's status."""
    try:
        yield
    except Status as status:
        context.abort(status.code, status.message)


def key_of(message):
    return message.key if message.HasField("key") else None


def check_key(key):
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    if key is None:
        raise Status(invalid, "key is required")
    if len(key.saga_id) != 16:
        raise Status(invalid, "key.saga_id must be 16 bytes")
    if not 1 <= key.step <= 32767:
        raise Status(invalid, "key.step must be 1 to 32767")
    if len(key.content_digest) > 8:
        raise Status(invalid, "key.content_digest must be at most 8 bytes")


def decode(kind, payload):
    try:
        return kind.FromString(payload)
    except Exception as error:
        raise Status(grpc.StatusCode.INVALID_ARGUMENT, "the payload does not decode") from error


def refused(reason):
    return StepOutcome(refused=StepRefusal(reason=reason))


def rejection(reason, **metadata):
    return StepRejection(reason=reason, metadata=metadata)
