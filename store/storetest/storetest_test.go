package storetest_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/storemodel"
	"github.com/counterfoil/counterfoil/store/storetest"
	"github.com/counterfoil/counterfoil/token"
)

func TestModel(t *testing.T) { run(t, "") }

func run(t *testing.T, fault string) {
	storetest.Run(t, func(t *testing.T) storetest.Under {
		m := storemodel.New()
		m.Fault = fault
		return storetest.Under{Store: m, Pass: func(_ testing.TB, _ token.SessionID, d time.Duration) { m.Advance(d) }}
	})
}

// TestFaults shows that the suite finds a store that breaks a rule, and says which. Each fault runs in a process of its own, since there it has to fail.
func TestFaults(t *testing.T) {
	const variable = "STORETEST_FAULT"
	if fault := os.Getenv(variable); fault != "" {
		run(t, fault)
		return
	}
	for fault, rule := range map[string]string{
		"subject ignored":               "of another subject",
		"never confirmed":               "confirm that it arrived",
		"used ID taken over":            "Create refuses an ID that is in use",
		"created before the not-before": "Create sets created to at least",
		"cap ends the newest":           "renewed longest ago",
		"no cap":                        "renewed longest ago",
		"life prolonged":                "an absolute expiry that is earlier",
		"the ended replaced":            "does not go on under another ID",
		"younger by a rotation":         "makes one as old",
		"heirs refused":                 "what is inherited",
		"fields shared":                 "What Load answered is the caller's",
		"loading renews":                "reading or writing it does not renew it",
		"late save revives":             "it does not come back",
		"frozen is written":             "Freeze answers the record",
		"conditions ignored":            "every If holds",
		"half a save":                   "changes nothing",
		"take leaves it":                "answers the value once",
		"floating increments":           "exact over the whole of int64",
		"no budget":                     "ErrTooLarge",
		"frozen is renewed":             "A frozen session is not renewed",
		"quiet judges":                  "or quiet",
		"no window":                     "within W",
		"reuse forgiven":                "reuse, the session ends",
		"reuse does not end":            "reuse, the session ends",
		"absolute life extended":        "absolute",
		"ending twice fails":            "Ending what has ended",
		"not-before too early":          "not-before",
		"announcing unlists":            "Announcing makes the index forget",
		"ends are forgotten":            "Until they are announced",
		"the kept one ends too":         "keeps the one",
		"the kept one unseen":           "ends nothing and is ErrNotFound",
		"frozen is kept":                "ends nothing and is ErrNotFound",
		"the kept one seen before":      "goes on under its new ID",
		"index not pruned":              "Sessions answers no session that ended, expired",
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFaults$", "-test.timeout=60s")
			cmd.Env = append(os.Environ(), variable+"="+fault)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatal("the suite passes")
			}
			for line := range strings.Lines(string(out)) {
				if strings.Contains(line, "broken rule: ") && strings.Contains(line, rule) {
					return
				}
			}
			t.Errorf("the suite fails without naming the rule (%q):\n%s", rule, out)
		})
	}
}
