package faults

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// A Row is what became of one fault.
type Row struct {
	Fault string
	Counts
	Whole      time.Duration // from the end of the fault until everything worked again
	Told       string        // what callers or the operator were told of what the system does not promise here; "" = it promises everything
	Note       string        // what else is to be said
	Operations int           // in histories that were checked
	Broken     []string      // what is wrong besides the figures
}

// Failed reports whether the row breaks a promise that was not taken back beforehand.
func (r Row) Failed() bool {
	return r.Mixed > 0 || len(r.Broken) > 0 || r.Lost > 0 || r.Late > 0
}

const rowFormat = "%-72s %6s %6s %6s %5s %5s %5s %8s %8s  %s\n"

// WriteHead writes the head of the table.
func WriteHead(w io.Writer) {
	fmt.Fprintf(w, rowFormat, "injected", "acked", "refus.", "confd.", "lost", "late", "mixed", "latest", "whole", "told")
}

// Write writes the row, and a line for each thing that is wrong.
func (r Row) Write(w io.Writer) {
	told := r.Told
	if r.Counts.Told > 0 {
		told = strings.TrimPrefix(fmt.Sprintf("%s; %d times ErrNotDurable", told, r.Counts.Told), "; ")
	}
	if r.LostExcused+r.LateExcused > 0 {
		told += fmt.Sprintf("; %d lost and %d late are excused by that", r.LostExcused, r.LateExcused)
	}
	if r.Note != "" {
		told = strings.TrimSpace(told + " (" + r.Note + ")")
	}
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.2f s", max(d, 0).Seconds()) }
	n := func(i int) string { return fmt.Sprint(i) }
	fmt.Fprintf(w, rowFormat, r.Fault, n(r.Acknowledged), n(r.Counts.Refused), n(r.Confirmed), n(r.Lost), n(r.Late), n(r.Mixed), seconds(r.Latest), seconds(r.Whole), told)
	for _, b := range r.Broken {
		fmt.Fprintln(w, "    "+b)
	}
}
