package httpadapter

import (
	"context"
	"errors"
	"net/http"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

// AuthConfig says how [AuthFunc] works.
type AuthConfig struct {
	Guard *revocation.Guard // required

	// Metadata returns the values of a key of the incoming call: metadata.ValueFromIncomingContext of google.golang.org/grpc. Required.
	Metadata func(ctx context.Context, key string) []string

	// Fail makes the error that the caller sees: func(code uint32, text string) error { return status.Error(codes.Code(code), text) }.
	// Required, since without it gRPC would send the text of the refusal as code Unknown.
	Fail func(code uint32, text string) error
}

// Codes of gRPC that [AuthFunc] answers with.
const (
	grpcUnavailable     = 14
	grpcUnauthenticated = 16
)

// AuthFunc makes the authentication function that the interceptors of go-grpc-middleware take, without importing grpc: it checks the bearer token of
// the metadata key "authorization". Behind it [VerifiedFrom] returns the token. The returned function is safe for concurrent use. The error is for a
// configuration that is not complete. Package examples/frameworks has a server that uses it.
func AuthFunc(cfg AuthConfig) (func(context.Context) (context.Context, error), error) {
	if cfg.Guard == nil || cfg.Metadata == nil || cfg.Fail == nil {
		return nil, errors.New("httpadapter: AuthConfig.Guard, Metadata and Fail are required")
	}
	return func(ctx context.Context) (context.Context, error) {
		err := error(token.ErrInvalid)
		var v token.Verified
		if values := cfg.Metadata(ctx, "authorization"); len(values) == 1 {
			v, err = counterfoil.Verify(ctx, cfg.Guard, counterfoil.Request{Method: http.MethodPost, Authorization: values[0]}, "")
		}
		switch status, _ := counterfoil.Status(err); {
		case err == nil:
			return context.WithValue(ctx, verifiedKey, v), nil
		case status == http.StatusUnauthorized:
			return nil, cfg.Fail(grpcUnauthenticated, "unauthenticated")
		default:
			return nil, cfg.Fail(grpcUnavailable, "unavailable")
		}
	}, nil
}

// VerifiedFrom returns the token that [AuthFunc] or [Verify] has accepted, from the context of the call; the zero Verified if neither has.
func VerifiedFrom(ctx context.Context) token.Verified {
	v, _ := ctx.Value(verifiedKey).(token.Verified)
	return v
}
