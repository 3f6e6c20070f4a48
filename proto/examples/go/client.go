package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// connect returns a channel to the server. The service config gives every call its deadline and
// gRPC's own retries.
func connect(address string) *grpc.ClientConn {
	config := must(os.ReadFile("../../service_config.json"))
	reconnect := backoff.Config{
		BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second,
	}
	return must(grpc.NewClient(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(string(config)),
		// The default looks for an absent server ever more seldom, up to every 2 minutes.
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: reconnect, MinConnectTimeout: 5 * time.Second}),
		// Notices a dead connection, which a stream without a deadline would not.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
	))
}

// answered makes a call until it is answered, with the same request and so the same request_id. The
// loop is for outages that last longer than gRPC's own retries.
func answered[Request, Response any](
	ctx context.Context,
	call func(context.Context, Request, ...grpc.CallOption) (Response, error),
	request Request,
	options ...grpc.CallOption,
) (Response, error) {
	for {
		response, err := call(ctx, request, options...)
		if !isTemporary(err) || !pause(ctx, err) {
			return response, err
		}
	}
}

// isTemporary tells whether the same request may have another answer later.
func isTemporary(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded:
		return true
	}
	return false
}

// pause waits as long as the error says, or a second. It returns false when the context ends first.
func pause(ctx context.Context, err error) bool {
	delay := time.Second
	if info := detail[*errdetails.RetryInfo](err); info != nil {
		delay = info.RetryDelay.AsDuration()
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(delay):
		return true
	}
}

// detail returns the error's detail of this type, or nil.
func detail[Detail any](err error) (found Detail) {
	for _, it := range status.Convert(err).Details() {
		if it, ok := it.(Detail); ok {
			return it
		}
	}
	return found
}

// reason returns the stable name of an error, or "" if the error does not come from the shop.
func reason(err error) string {
	info := detail[*errdetails.ErrorInfo](err)
	if info.GetDomain() != "commerce-core.dev" {
		return ""
	}
	return info.Reason
}

// expect ends the program unless the error has this reason.
func expect(err error, want string) {
	check(reason(err) == want, "expected %s, got: %v", want, err)
	fmt.Printf("refused: %s %v\n", want, detail[*errdetails.ErrorInfo](err).Metadata)
}

func must[T any](value T, err error) T {
	check(err == nil, "%v", err)
	return value
}

func check(ok bool, format string, values ...any) {
	if !ok {
		fail(format, values...)
	}
}

func fail(format string, values ...any) {
	fmt.Fprintf(os.Stderr, "error: "+format+"\n", values...)
	os.Exit(1)
}
