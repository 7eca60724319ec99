package store

import (
	"context"
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil"
)

// One script for each atomic step; what it takes, answers and promises stands at the head of its file.
var (
	//go:embed lua/head.lua
	headLua string
	//go:embed lua/ops.lua
	opsLua string
	//go:embed lua/create.lua
	createLua string
	//go:embed lua/confirm.lua
	confirmLua string
	//go:embed lua/save.lua
	saveLua string
	//go:embed lua/save_all.lua
	saveAllLua string
	//go:embed lua/refresh.lua
	refreshLua string
	//go:embed lua/freeze.lua
	freezeLua string
	//go:embed lua/subject.lua
	subjectLua string
	//go:embed lua/end_one.lua
	endOneLua string
	//go:embed lua/end_all.lua
	endAllLua string
	//go:embed lua/end_others.lua
	endOthersLua string
	//go:embed lua/forget.lua
	forgetLua string
	//go:embed lua/sessions.lua
	sessionsLua string
	//go:embed lua/ask.lua
	askLua string
	//go:embed lua/facts.lua
	factsLua string
	//go:embed lua/append.lua
	appendLua string
	//go:embed lua/census.lua
	censusLua string
	//go:embed lua/report.lua
	reportLua string
	//go:embed lua/followers.lua
	followersLua string
)

// budgetLua is what every Redis knows of the budget, so that no save has to say it.
var budgetLua = "local budget = " + strconv.Itoa(counterfoil.MaxDataLen) + "\n"

var (
	createScript    = newScript("create", budgetLua, headLua, opsLua, createLua)
	confirmScript   = newScript("load", headLua, confirmLua)
	saveScript      = newScript("save", budgetLua, saveLua, opsLua, saveAllLua)
	refreshScript   = newScript("refresh", headLua, refreshLua)
	freezeScript    = newScript("freeze", headLua, freezeLua)
	subjectScript   = newScript("subject", headLua, subjectLua)
	endOneScript    = newScript("end", headLua, endOneLua)
	endAllScript    = newScript("end all", headLua, endAllLua)
	endOthersScript = newScript("end others", headLua, endOthersLua)
	forgetScript    = newScript("forget", headLua, forgetLua)
	sessionsScript  = newScript("sessions", headLua, sessionsLua)
	askScript       = newScript("ask", headLua, askLua)
	factsScript     = newScript("ask", factsLua)
	appendScript    = newScript("append", appendLua)
	reportScript    = newScript("report", censusLua, reportLua)
	followersScript = newScript("followers", censusLua, followersLua)
)

// script is a Lua script: the step's name for errors, its text, the SHA-1 by which Redis knows it, and how a command begins that runs it.
type script struct {
	step, text, sha string
	words           [2]any
}

func newScript(step string, parts ...string) script {
	var text string
	for _, p := range parts {
		text += p
	}
	sum := sha1.Sum([]byte(text))
	sha := hex.EncodeToString(sum[:])
	return script{step, text, sha, [2]any{"evalsha", sha}}
}

// onceCmd is a command that go-redis must not repeat after a lost answer: its Process asks the command itself, so this holds for
// every client, whatever its MaxRetries. (A redirection is still followed: there nothing was executed.)
type onceCmd struct{ *redis.Cmd }

// NoRetry says that a lost answer must not be followed by the same command again.
func (onceCmd) NoRetry() bool { return true }

// run runs a step by its SHA, and by its text where the server has not seen it. once: see onceCmd.
func (s *Redis) run(ctx context.Context, sc script, once bool, keys []string, args ...any) (reply, error) {
	bounded := s.until(ctx)
	defer bounded.Release()
	return runOn(bounded, s.send, sc, once, keys, args...)
}

// runOn is run with any way of sending a command.
func runOn(ctx context.Context, send func(context.Context, redis.Cmder) error, sc script, once bool, keys []string, args ...any) (reply, error) {
	return runWords(ctx, send, sc, once, words("evalsha", sc.sha, keys, args))
}

// runWords is runOn for a command that is spelled out already.
func runWords(ctx context.Context, send func(context.Context, redis.Cmder) error, sc script, once bool, words []any) (reply, error) {
	v, err := eval(ctx, send, once, words)
	if err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") { // nothing was executed
		words[0], words[1] = "eval", sc.text
		v, err = eval(ctx, send, once, words)
	}
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("store: %s: %w", sc.step, err)
	}
	return toReply(v), nil
}

func eval(ctx context.Context, send func(context.Context, redis.Cmder) error, once bool, words []any) (any, error) {
	cmd := redis.NewCmd(ctx, words...)
	var c redis.Cmder = cmd
	if once {
		c = onceCmd{cmd}
	}
	if err := send(ctx, c); err != nil {
		return nil, err
	}
	return cmd.Result()
}

// words spells a command out that runs a script.
func words(command, script string, keys []string, args []any) []any {
	a := make([]any, 0, 3+len(keys)+len(args))
	a = append(a, command, script, len(keys))
	for _, k := range keys {
		a = append(a, k)
	}
	return append(a, args...)
}

// reply is what a script answered. Its methods are forgiving about types (a number may come as text) and strict about meaning:
// what is missing or malformed reads as zero or absent, which no caller takes for success.
type reply []any

func toReply(v any) reply {
	if r, ok := v.([]any); ok || v == nil {
		return r
	}
	return reply{v}
}

func (r reply) at(i int) any {
	if i < len(r) {
		return r[i]
	}
	return nil
}

func (r reply) int(i int) int64 {
	switch v := r.at(i).(type) {
	case int64:
		return v
	case string:
		n, _ := strconv.ParseInt(v, 10, 64)
		return n
	}
	return 0
}

func (r reply) string(i int) string {
	s, _ := r.at(i).(string)
	return s
}

func (r reply) list(i int) reply {
	l, _ := r.at(i).([]any)
	return l
}
