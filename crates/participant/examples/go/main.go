// The participant "seat": an airline's seats as steps of sagas. See ../../CONTRACT.md for the rules.
//
// step.go has what is the same for every participant: the step table, the watermark and SagaParticipantService. This file
// has what is this airline's: the actions and how they are undone.
package main

import (
	"context"
	"database/sql"
	_ "embed"
	"flag"
	"fmt"
	"log"
	"net"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	_ "modernc.org/sqlite"

	"seat/gen/saga"
	"seat/gen/travel"
)

//go:embed schema.sql
var schema string

const service = "travel.v1.SeatParticipantService/"

// actions are the airline's actions by full method, with their roles and rejections as the proto declares them.
var actions = map[string]action{
	service + "ReserveSeat": {
		role:       saga.StepRole_STEP_ROLE_COMPENSATABLE,
		rejections: []string{"NO_SUCH_FLIGHT", "SEAT_TAKEN"},
		run:        decoding(&travel.ReserveSeatPayload{}, reserveSeat),
	},
	service + "IssueTicket": {
		role:       saga.StepRole_STEP_ROLE_PIVOT,
		rejections: []string{"NO_RESERVATION"},
		run:        decoding(&travel.IssueTicketPayload{}, issueTicket),
	},
	service + "SendReceipt": {
		role: saga.StepRole_STEP_ROLE_RETRIABLE,
		run:  decoding(&travel.SendReceiptPayload{}, sendReceipt),
	},
}

// reserveSeat runs in the transaction that also writes the step's row. Rules are asked before anything is written, so that
// a rejection leaves no effect.
func reserveSeat(tx *sql.Tx, p *travel.ReserveSeatPayload) (proto.Message, *saga.StepRejection, error) {
	if !fits(p.Flight, 16) || !fits(p.Seat, 16) || !fits(p.Passenger, 64) {
		return nil, nil, status.Error(codes.InvalidArgument, "flight and seat have 1 to 16 characters, passenger 1 to 64")
	}
	var exists, taken bool
	err := tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM flight WHERE name = ?),
		EXISTS (SELECT 1 FROM reservation WHERE flight = ? AND seat = ?)`, p.Flight, p.Flight, p.Seat).Scan(&exists, &taken)
	if err != nil {
		return nil, nil, err
	}
	if !exists {
		return nil, rejection("NO_SUCH_FLIGHT", "flight", p.Flight), nil
	}
	if taken {
		return nil, rejection("SEAT_TAKEN", "flight", p.Flight, "seat", p.Seat), nil
	}
	id, err := insert(tx, "INSERT INTO reservation (flight, seat, passenger) VALUES (?, ?, ?)", p.Flight, p.Seat, p.Passenger)
	return &travel.ReserveSeatReply{Reservation: id}, nil, err
}

func issueTicket(tx *sql.Tx, p *travel.IssueTicketPayload) (proto.Message, *saga.StepRejection, error) {
	if !fits(p.Flight, 16) || !fits(p.Seat, 16) {
		return nil, nil, status.Error(codes.InvalidArgument, "flight and seat have 1 to 16 characters")
	}
	var reservation int64
	err := tx.QueryRow("SELECT id FROM reservation WHERE flight = ? AND seat = ?", p.Flight, p.Seat).Scan(&reservation)
	if err == sql.ErrNoRows {
		return nil, rejection("NO_RESERVATION", "flight", p.Flight, "seat", p.Seat), nil
	} else if err != nil {
		return nil, nil, err
	}
	id, err := insert(tx, "INSERT INTO ticket (reservation) VALUES (?)", reservation)
	return &travel.IssueTicketReply{Ticket: id}, nil, err
}

func sendReceipt(tx *sql.Tx, p *travel.SendReceiptPayload) (proto.Message, *saga.StepRejection, error) {
	if !fits(p.Email, 128) || utf8.RuneCountInString(p.Text) > 1000 {
		return nil, nil, status.Error(codes.InvalidArgument, "email has 1 to 128 characters, text at most 1000")
	}
	id, err := insert(tx, "INSERT INTO receipt (email, text) VALUES (?, ?)", p.Email, p.Text)
	return &travel.SendReceiptReply{Receipt: id}, nil, err
}

// undo reverts a done step by its recorded reply. ReserveSeat is the only action that can be compensated, so the reply is
// its reply; with several such actions, store the method in the row.
func undo(tx *sql.Tx, reply []byte) error {
	var r travel.ReserveSeatReply
	if err := proto.Unmarshal(reply, &r); err != nil {
		return err
	}
	_, err := tx.Exec("DELETE FROM reservation WHERE id = ?", r.Reservation)
	return err
}

// seats serves the actions as typed calls.
type seats struct {
	travel.UnimplementedSeatParticipantServiceServer
	steps *steps
}

func (s seats) ReserveSeat(ctx context.Context, r *travel.ReserveSeatRequest) (*travel.ReserveSeatResponse, error) {
	return typed(ctx, s.steps, service+"ReserveSeat", r.Key, r.Payload, &travel.ReserveSeatResponse{})
}

func (s seats) IssueTicket(ctx context.Context, r *travel.IssueTicketRequest) (*travel.IssueTicketResponse, error) {
	return typed(ctx, s.steps, service+"IssueTicket", r.Key, r.Payload, &travel.IssueTicketResponse{})
}

func (s seats) SendReceipt(ctx context.Context, r *travel.SendReceiptRequest) (*travel.SendReceiptResponse, error) {
	return typed(ctx, s.steps, service+"SendReceipt", r.Key, r.Payload, &travel.SendReceiptResponse{})
}

// fits says whether text has 1 to most characters.
func fits(text string, most int) bool {
	return text != "" && utf8.RuneCountInString(text) <= most
}

func insert(tx *sql.Tx, statement string, values ...any) (int64, error) {
	result, err := tx.Exec(statement, values...)
	if err != nil {
		return 0, err
	}
	return result.LastInsertId()
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on; port 0 chooses a free one")
	database := flag.String("database", "seat.db", "file of the SQLite database")
	flag.Parse()

	// Every transaction is IMMEDIATE: it takes the write lock before it reads, so that no two see the same missing row.
	db, err := sql.Open("sqlite", "file:"+*database+"?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)")
	if err != nil {
		log.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(schema); err != nil {
		log.Fatal(err)
	}
	steps := &steps{db: db, participant: "seat", actions: actions, undo: undo}
	go func() {
		for range time.Tick(time.Hour) {
			if err := steps.purge(); err != nil {
				log.Print("rows below the watermark were not deleted; next try in 1 h: ", err)
			}
		}
	}()

	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	saga.RegisterSagaParticipantServiceServer(server, steps)
	travel.RegisterSeatParticipantServiceServer(server, seats{steps: steps})
	reflection.Register(server)
	fmt.Println(listener.Addr())
	log.Fatal(server.Serve(listener))
}
