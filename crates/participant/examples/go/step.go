package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"sort"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"seat/gen/saga"
)

// The states of a row, stored by number.
const (
	nothing     = saga.StepState_STEP_STATE_NOTHING
	done        = saga.StepState_STEP_STATE_DONE
	rejected    = saga.StepState_STEP_STATE_REJECTED
	compensated = saga.StepState_STEP_STATE_COMPENSATED
	tombstone   = saga.StepState_STEP_STATE_TOMBSTONE
	purged      = saga.StepState_STEP_STATE_PURGED
)

// action is one action: it answers a reply or a rejection, or an error after which the transaction is rolled back.
type action struct {
	role       saga.StepRole
	rejections []string
	run        func(tx *sql.Tx, payload []byte) (proto.Message, *saga.StepRejection, error)
}

// steps keeps the step table of one participant and serves SagaParticipantService.
type steps struct {
	saga.UnimplementedSagaParticipantServiceServer
	db          *sql.DB
	participant string
	actions     map[string]action
	undo        func(tx *sql.Tx, reply []byte) error
}

// row is one row of the step table.
type row struct {
	state  saga.StepState
	digest []byte
	reply  []byte // the reply, the encoded rejection, or the reason of a void
}

// act runs an action at most once. The row is looked at before any business rule.
func (s *steps) act(ctx context.Context, method string, key *saga.StepKey, payload []byte) (*saga.StepOutcome, error) {
	action, known := s.actions[method]
	if !known {
		return nil, status.Errorf(codes.Unimplemented, "no action %s", method)
	}
	if err := checkKey(key); err != nil {
		return nil, err
	}
	var outcome *saga.StepOutcome
	err := s.transaction(ctx, func(tx *sql.Tx) error {
		found, err := find(tx, key)
		switch {
		case err != nil:
			return err
		case found.state == purged:
			outcome = refused(saga.StepRefusalReason_STEP_REFUSAL_REASON_PURGED)
		case found.state == compensated || found.state == tombstone:
			outcome = refused(saga.StepRefusalReason_STEP_REFUSAL_REASON_TOMBSTONED)
		case found.state == nothing:
			reply, rejection, err := action.run(tx, payload)
			if err != nil {
				return err
			}
			found = row{state: done, digest: key.ContentDigest}
			var message proto.Message = reply
			if rejection != nil {
				found.state, message = rejected, rejection
			}
			if found.reply, err = proto.Marshal(message); err != nil {
				return err
			}
			if err := write(tx, key, found); err != nil {
				return err
			}
			outcome, err = recorded(found)
			return err
		case !bytes.Equal(found.digest, key.ContentDigest):
			outcome = refused(saga.StepRefusalReason_STEP_REFUSAL_REASON_OTHER_CONTENT)
		default:
			outcome, err = recorded(found)
			return err
		}
		return nil
	})
	return outcome, err
}

// Compensate undoes a done step, or closes one that has not run.
func (s *steps) Compensate(ctx context.Context, r *saga.CompensateRequest) (*saga.CompensateResponse, error) {
	if err := s.check(r.Participant, r.Key); err != nil {
		return nil, err
	}
	response := &saga.CompensateResponse{}
	err := s.transaction(ctx, func(tx *sql.Tx) error {
		found, err := find(tx, r.Key)
		if err != nil {
			return err
		}
		response.Found = found.state
		switch found.state {
		case nothing:
			return write(tx, r.Key, row{state: tombstone})
		case done:
			if err := s.undo(tx, found.reply); err != nil {
				return err
			}
			_, err := tx.Exec("UPDATE saga_step SET state = ? WHERE saga_id = ? AND step = ?", compensated, r.Key.SagaId, r.Key.Step)
			return err
		case rejected:
			response.Rejection = &saga.StepRejection{}
			return proto.Unmarshal(found.reply, response.Rejection)
		}
		return nil
	})
	return response, err
}

// Void closes a pivot that has not run. One that is done is left.
func (s *steps) Void(ctx context.Context, r *saga.VoidRequest) (*saga.VoidResponse, error) {
	if err := s.check(r.Participant, r.Key); err != nil {
		return nil, err
	}
	if len(r.Reason) < 1 || len(r.Reason) > 64 {
		return nil, status.Error(codes.InvalidArgument, "reason must be 1 to 64 characters")
	}
	response := &saga.VoidResponse{}
	err := s.transaction(ctx, func(tx *sql.Tx) error {
		found, err := find(tx, r.Key)
		if err != nil {
			return err
		}
		response.Found = found.state
		switch found.state {
		case nothing:
			response.Reason = r.Reason
			return write(tx, r.Key, row{state: tombstone, reply: []byte(r.Reason)})
		case tombstone:
			response.Reason = string(found.reply)
		case done:
			response.Reply = found.reply
		case rejected:
			response.Rejection = &saga.StepRejection{}
			return proto.Unmarshal(found.reply, response.Rejection)
		}
		return nil
	})
	return response, err
}

// RunSteps runs many steps and answers each when it is committed.
func (s *steps) RunSteps(r *saga.RunStepsRequest, stream grpc.ServerStreamingServer[saga.RunStepsResponse]) error {
	if err := s.checkName(r.Participant); err != nil {
		return err
	}
	if len(r.Calls) < 1 || len(r.Calls) > 512 {
		return status.Error(codes.InvalidArgument, "calls must be 1 to 512")
	}
	began := time.Now()
	for place, call := range r.Calls {
		answer := s.answer(stream.Context(), began, call)
		answer.Call = int32(place)
		if err := stream.Send(&saga.RunStepsResponse{Answers: []*saga.StepAnswer{answer}}); err != nil {
			return err
		}
	}
	return nil
}

func (s *steps) answer(ctx context.Context, began time.Time, call *saga.StepCall) *saga.StepAnswer {
	failed := func(err error) *saga.StepAnswer {
		told := status.Convert(err)
		stepError := &saga.StepError{Code: int32(told.Code()), Message: told.Message()}
		return &saga.StepAnswer{Answer: &saga.StepAnswer_Error{Error: stepError}}
	}
	if call.RemainingMillis < 1 || call.RemainingMillis > 60_000 {
		return failed(status.Error(codes.InvalidArgument, "remaining_millis must be 1 to 60000"))
	}
	ctx, cancel := context.WithDeadline(ctx, began.Add(time.Duration(call.RemainingMillis)*time.Millisecond))
	defer cancel()
	switch kind := call.Call.(type) {
	case *saga.StepCall_Action:
		outcome, err := s.act(ctx, kind.Action.Method, call.Key, kind.Action.Payload)
		if err != nil {
			return failed(err)
		}
		return &saga.StepAnswer{Answer: &saga.StepAnswer_Outcome{Outcome: outcome}}
	case *saga.StepCall_Compensation:
		found, err := s.Compensate(ctx, &saga.CompensateRequest{Participant: s.participant, Key: call.Key})
		if err != nil {
			return failed(err)
		}
		return &saga.StepAnswer{Answer: &saga.StepAnswer_Compensation{Compensation: found}}
	case *saga.StepCall_Void:
		found, err := s.Void(ctx, &saga.VoidRequest{Participant: s.participant, Key: call.Key, Reason: kind.Void.Reason})
		if err != nil {
			return failed(err)
		}
		return &saga.StepAnswer{Answer: &saga.StepAnswer_Void{Void: found}}
	}
	return failed(status.Error(codes.InvalidArgument, "a call has an action, a compensation or a void"))
}

// GetSteps reads all rows of sagas, by saga and step.
func (s *steps) GetSteps(ctx context.Context, r *saga.GetStepsRequest) (*saga.GetStepsResponse, error) {
	if err := s.checkName(r.Participant); err != nil {
		return nil, err
	}
	if len(r.SagaIds) < 1 || len(r.SagaIds) > 16 {
		return nil, status.Error(codes.InvalidArgument, "saga_ids must be 1 to 16")
	}
	for _, id := range r.SagaIds {
		if len(id) != 16 {
			return nil, status.Error(codes.InvalidArgument, "saga_ids must have 16 bytes each")
		}
	}
	ids := append([][]byte{}, r.SagaIds...)
	sort.Slice(ids, func(a, b int) bool { return bytes.Compare(ids[a], ids[b]) < 0 })
	response := &saga.GetStepsResponse{}
	err := s.transaction(ctx, func(tx *sql.Tx) error {
		for place, id := range ids {
			if place > 0 && bytes.Equal(id, ids[place-1]) {
				continue
			}
			rows, err := tx.Query("SELECT step, state, reply, created_at FROM saga_step WHERE saga_id = ? ORDER BY step", id)
			if err != nil {
				return err
			}
			for rows.Next() {
				record, err := readRecord(rows, id)
				if err != nil {
					rows.Close()
					return err
				}
				response.Records = append(response.Records, record)
			}
			if err := rows.Err(); err != nil {
				return err
			}
		}
		return nil
	})
	return response, err
}

func readRecord(rows *sql.Rows, id []byte) (*saga.StepRecord, error) {
	record := &saga.StepRecord{Key: &saga.StepKey{SagaId: id}}
	var reply []byte
	var at int64
	if err := rows.Scan(&record.Key.Step, &record.State, &reply, &at); err != nil {
		return nil, err
	}
	record.At = timestamppb.New(time.UnixMilli(at))
	switch record.State {
	case rejected:
		record.Rejection = &saga.StepRejection{}
		return record, proto.Unmarshal(reply, record.Rejection)
	case tombstone:
		record.VoidReason = string(reply)
	default:
		record.Reply = reply
	}
	return record, nil
}

// RaiseWatermark raises the watermark. It never falls.
func (s *steps) RaiseWatermark(ctx context.Context, r *saga.RaiseWatermarkRequest) (*saga.RaiseWatermarkResponse, error) {
	if err := s.checkName(r.Participant); err != nil {
		return nil, err
	}
	if len(r.Watermark) != 16 {
		return nil, status.Error(codes.InvalidArgument, "watermark must be 16 bytes")
	}
	response := &saga.RaiseWatermarkResponse{}
	err := s.transaction(ctx, func(tx *sql.Tx) error {
		if _, err := tx.Exec("UPDATE saga_watermark SET watermark = max(watermark, ?)", r.Watermark); err != nil {
			return err
		}
		return tx.QueryRow("SELECT watermark FROM saga_watermark").Scan(&response.Watermark)
	})
	return response, err
}

// purge deletes rows of sagas that are over. The watermark was committed before, so nobody can run their steps again.
func (s *steps) purge() error {
	_, err := s.db.Exec("DELETE FROM saga_step WHERE saga_id <= (SELECT watermark FROM saga_watermark)")
	return err
}

// Describe lists the actions by method.
func (s *steps) Describe(_ context.Context, r *saga.DescribeRequest) (*saga.DescribeResponse, error) {
	if err := s.checkName(r.Participant); err != nil {
		return nil, err
	}
	response := &saga.DescribeResponse{}
	for method, action := range s.actions {
		response.Actions = append(response.Actions, &saga.Action{Method: method, Role: action.role, Rejections: action.rejections})
	}
	sort.Slice(response.Actions, func(a, b int) bool { return response.Actions[a].Method < response.Actions[b].Method })
	return response, nil
}

// find reads a step's row. Where there is none it says nothing or purged. The transaction has held the write lock since
// before the first read, so that neither the row nor the watermark changes until the commit.
func find(tx *sql.Tx, key *saga.StepKey) (row, error) {
	var found row
	err := tx.QueryRow("SELECT state, content_digest, reply FROM saga_step WHERE saga_id = ? AND step = ?", key.SagaId, key.Step).
		Scan(&found.state, &found.digest, &found.reply)
	if !errors.Is(err, sql.ErrNoRows) {
		return found, err
	}
	var watermark []byte
	err = tx.QueryRow("SELECT watermark FROM saga_watermark").Scan(&watermark)
	if bytes.Compare(key.SagaId, watermark) <= 0 {
		return row{state: purged}, err
	}
	return row{state: nothing}, err
}

func write(tx *sql.Tx, key *saga.StepKey, r row) error {
	_, err := tx.Exec("INSERT INTO saga_step VALUES (?, ?, ?, ?, ?, ?)",
		key.SagaId, key.Step, r.state, append([]byte{}, r.digest...), append([]byte{}, r.reply...), time.Now().UnixMilli())
	return err
}

// transaction commits what work did, or nothing. A status of work is kept; any other error says that nothing is known.
func (s *steps) transaction(ctx context.Context, work func(tx *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err == nil {
		defer tx.Rollback() // does nothing after a commit
		if err = work(tx); err == nil {
			err = tx.Commit()
		}
	}
	if err == nil || status.Code(err) != codes.Unknown {
		return err
	}
	return status.Error(codes.Unavailable, err.Error())
}

// recorded answers a row that is DONE or REJECTED.
func recorded(r row) (*saga.StepOutcome, error) {
	if r.state == done {
		return &saga.StepOutcome{Outcome: &saga.StepOutcome_Done{Done: r.reply}}, nil
	}
	rejection := &saga.StepRejection{}
	err := proto.Unmarshal(r.reply, rejection)
	return &saga.StepOutcome{Outcome: &saga.StepOutcome_Rejected{Rejected: rejection}}, err
}

func refused(reason saga.StepRefusalReason) *saga.StepOutcome {
	return &saga.StepOutcome{Outcome: &saga.StepOutcome_Refused{Refused: &saga.StepRefusal{Reason: reason}}}
}

func rejection(reason string, metadata ...string) *saga.StepRejection {
	r := &saga.StepRejection{Reason: reason, Metadata: map[string]string{}}
	for i := 0; i+1 < len(metadata); i += 2 {
		r.Metadata[metadata[i]] = metadata[i+1]
	}
	return r
}

func (s *steps) check(participant string, key *saga.StepKey) error {
	if err := s.checkName(participant); err != nil {
		return err
	}
	return checkKey(key)
}

func (s *steps) checkName(participant string) error {
	if participant != s.participant {
		return status.Errorf(codes.Unimplemented, "no participant %s here", participant)
	}
	return nil
}

func checkKey(key *saga.StepKey) error {
	switch {
	case key == nil:
		return status.Error(codes.InvalidArgument, "key is required")
	case len(key.SagaId) != 16:
		return status.Error(codes.InvalidArgument, "key.saga_id must be 16 bytes")
	case key.Step < 1 || key.Step > 32767:
		return status.Error(codes.InvalidArgument, "key.step must be 1 to 32767")
	case len(key.ContentDigest) > 8:
		return status.Error(codes.InvalidArgument, "key.content_digest must be at most 8 bytes")
	}
	return nil
}

// decoding makes an action of bytes from one of a typed payload.
func decoding[P proto.Message](empty P, run func(*sql.Tx, P) (proto.Message, *saga.StepRejection, error)) func(*sql.Tx, []byte) (proto.Message, *saga.StepRejection, error) {
	return func(tx *sql.Tx, payload []byte) (proto.Message, *saga.StepRejection, error) {
		message := empty.ProtoReflect().New().Interface().(P)
		if err := proto.Unmarshal(payload, message); err != nil {
			return nil, nil, status.Error(codes.InvalidArgument, "the payload does not decode")
		}
		return run(tx, message)
	}
}

// typed answers an action's own call. Every outcome has the field numbers of StepOutcome, so its encoding is the same.
func typed[R proto.Message](ctx context.Context, s *steps, method string, key *saga.StepKey, payload proto.Message, response R) (R, error) {
	if err := checkKey(key); err != nil {
		return response, err
	}
	if !payload.ProtoReflect().IsValid() {
		return response, status.Error(codes.InvalidArgument, "payload is required")
	}
	encoded, err := proto.Marshal(payload)
	if err != nil {
		return response, err
	}
	outcome, err := s.act(ctx, method, key, encoded)
	if err != nil {
		return response, err
	}
	if encoded, err = proto.Marshal(outcome); err != nil {
		return response, err
	}
	return response, proto.Unmarshal(encoded, response)
}
