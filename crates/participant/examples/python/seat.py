"""The participant "seat": an airline's seats as steps of sagas. See ../../CONTRACT.md for the rules.

steps.py has what is the same for every participant: the step table, the watermark and SagaParticipantService. This file
has what is this airline's: the actions and how they are undone.
"""

import argparse
import signal
import sqlite3
import threading
from concurrent import futures
from pathlib import Path

import grpc
from grpc_reflection.v1alpha import reflection

from steps import Action, SagaParticipant, Status, Steps, rejection
from commerce.saga.v1 import options_pb2, participant_pb2, participant_pb2_grpc
from travel.v1 import seat_participant_service_pb2 as travel
from travel.v1 import seat_participant_service_pb2_grpc as travel_grpc

SERVICE = "travel.v1.SeatParticipantService"


def reserve_seat(db, p):
    """Runs in the transaction that also writes the step's row. Rules are asked before anything is written, so that a
    rejection leaves no effect."""
    check_lengths((p.flight, 1, 16), (p.seat, 1, 16), (p.passenger, 1, 64))
    if not db.execute("SELECT 1 FROM flight WHERE name = ?", (p.flight,)).fetchone():
        return rejection("NO_SUCH_FLIGHT", flight=p.flight)
    if db.execute("SELECT 1 FROM reservation WHERE flight = ? AND seat = ?", (p.flight, p.seat)).fetchone():
        return rejection("SEAT_TAKEN", flight=p.flight, seat=p.seat)
    row = db.execute(
        "INSERT INTO reservation (flight, seat, passenger) VALUES (?, ?, ?)", (p.flight, p.seat, p.passenger)
    )
    return travel.ReserveSeatReply(reservation=row.lastrowid)


def issue_ticket(db, p):
    check_lengths((p.flight, 1, 16), (p.seat, 1, 16))
    reserved = db.execute("SELECT id FROM reservation WHERE flight = ? AND seat = ?", (p.flight, p.seat)).fetchone()
    if not reserved:
        return rejection("NO_RESERVATION", flight=p.flight, seat=p.seat)
    row = db.execute("INSERT INTO ticket (reservation) VALUES (?)", reserved)
    return travel.IssueTicketReply(ticket=row.lastrowid)


def send_receipt(db, p):
    check_lengths((p.email, 1, 128), (p.text, 0, 1000))
    row = db.execute("INSERT INTO receipt (email, text) VALUES (?, ?)", (p.email, p.text))
    return travel.SendReceiptReply(receipt=row.lastrowid)


def undo(db, reply):
    """Reverts a done step by its recorded reply. ReserveSeat is the only action that can be compensated, so the reply is
    its reply; with several such actions, store the method in the row."""
    reservation = travel.ReserveSeatReply.FromString(reply).reservation
    db.execute("DELETE FROM reservation WHERE id = ?", (reservation,))


def check_lengths(*fields):
    if not all(least <= len(text) <= most for text, least, most in fields):
        raise Status(grpc.StatusCode.INVALID_ARGUMENT, "a field of the payload is too short or too long")


ACTIONS = {
    f"{SERVICE}/ReserveSeat": Action(
        options_pb2.STEP_ROLE_COMPENSATABLE,
        ["NO_SUCH_FLIGHT", "SEAT_TAKEN"],
        travel.ReserveSeatPayload,
        reserve_seat,
    ),
    f"{SERVICE}/IssueTicket": Action(
        options_pb2.STEP_ROLE_PIVOT, ["NO_RESERVATION"], travel.IssueTicketPayload, issue_ticket
    ),
    f"{SERVICE}/SendReceipt": Action(options_pb2.STEP_ROLE_RETRIABLE, [], travel.SendReceiptPayload, send_receipt),
}


class Seats(travel_grpc.SeatParticipantServiceServicer):
    """Serves the actions as typed calls."""

    def __init__(self, steps):
        self.steps = steps

    def ReserveSeat(self, request, context):
        return self.steps.typed(f"{SERVICE}/ReserveSeat", request, travel.ReserveSeatResponse, context)

    def IssueTicket(self, request, context):
        return self.steps.typed(f"{SERVICE}/IssueTicket", request, travel.IssueTicketResponse, context)

    def SendReceipt(self, request, context):
        return self.steps.typed(f"{SERVICE}/SendReceipt", request, travel.SendReceiptResponse, context)


def open_database(file):
    """Opens the only connection, which all threads share under a lock. Autocommit: transactions are begun by BEGIN
    IMMEDIATE, which takes the write lock before the first read, so that no two see the same missing row."""
    db = sqlite3.connect(file, timeout=5, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.executescript(Path(__file__).with_name("schema.sql").read_text())
    return db


def main():
    parser = argparse.ArgumentParser(description='The participant "seat".')
    parser.add_argument("--listen", default="127.0.0.1:0", help="address to listen on; port 0 chooses a free one")
    parser.add_argument("--database", default="seat.db", help="file of the SQLite database")
    arguments = parser.parse_args()

    steps = Steps(open_database(arguments.database), "seat", ACTIONS, undo)
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    participant_pb2_grpc.add_SagaParticipantServiceServicer_to_server(SagaParticipant(steps), server)
    travel_grpc.add_SeatParticipantServiceServicer_to_server(Seats(steps), server)
    saga_service = participant_pb2.DESCRIPTOR.services_by_name["SagaParticipantService"].full_name
    reflection.enable_server_reflection((saga_service, SERVICE, reflection.SERVICE_NAME), server)
    host = arguments.listen.rpartition(":")[0]
    port = server.add_insecure_port(arguments.listen)
    server.start()
    print(f"{host}:{port}", flush=True)

    ended = threading.Event()
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, lambda *_: ended.set())
    while not ended.wait(timeout=3600):
        steps.purge()
    server.stop(grace=5).wait()


if __name__ == "__main__":
    main()
