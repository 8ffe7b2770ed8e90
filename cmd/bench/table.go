package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Print writes a result for a person.
func (r *Result) Print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s at %s", r.Scenario, strings.Join(r.URLs, ", "))
	if r.Interrupted {
		b.WriteString(", interrupted")
	}
	fmt.Fprintf(&b, "\n%s\n\n", r.sizes())
	r.printRates(&b)
	b.WriteByte('\n')
	r.printChecks(&b)
	r.printCost(&b)
	for _, text := range r.Warnings {
		fmt.Fprintf(&b, "\nwarning: %s\n", text)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Result) sizes() string {
	list := []string{}
	if r.Scenario != Publish {
		list = append(list, counted(r.Connections, "connection"))
	}
	list = append(list, counted(r.Channels, "channel"))
	if r.Scenario.Publishes() {
		list = append(list, counted(r.Publishers, "publisher"))
	}
	if r.Replay != nil {
		list = append(list, counted(r.Replay.Missed+1, "message")+" per channel and all but the first missed")
	}
	if r.Processes > 1 {
		list = append(list, counted(r.Processes, "process")+"es")
	}
	took := fmt.Sprintf("%.1f s", r.Seconds)
	if r.Seconds < 1 {
		took = milliseconds(r.Seconds * 1000)
	}
	return strings.Join(append(list, took), ", ")
}

const row = "%-11s %12s %12s %10s %10s %10s %10s %10s"

func (r *Result) printRates(b *strings.Builder) {
	fmt.Fprintf(b, row+"\n", "", "count", "per second", "p50", "p90", "p99", "p99.9", "max")
	line := func(name string, count int, rate float64, l *Latency) {
		var text [5]string
		if l != nil {
			for i, v := range [5]float64{l.P50, l.P90, l.P99, l.P999, l.Max} {
				text[i] = milliseconds(v)
			}
		}
		all := fmt.Sprintf(row, name, grouped(count), grouped(int(rate+0.5)), text[0], text[1], text[2], text[3], text[4])
		b.WriteString(strings.TrimRight(all, " ") + "\n")
	}
	if r.Scenario != Publish {
		line("connected", r.Connect.Opened, r.Connect.PerSecond, r.Connect.Latency)
	}
	if p := r.Publish; p != nil {
		line("published", p.Stored, p.PerSecond, p.Latency)
	}
	if d := r.Deliver; d != nil {
		line("delivered", d.Received, d.PerSecond, d.Latency)
	}
	if p := r.Replay; p != nil {
		line("complete", p.Complete, ratioOf(p.Complete, p.Seconds), p.Latency)
	}
}

func ratioOf(n int, seconds float64) float64 {
	if seconds <= 0 {
		return 0
	}
	return float64(n) / seconds
}

func (r *Result) printChecks(b *strings.Builder) {
	if d := r.Deliver; d != nil {
		fmt.Fprintf(b, "%-11s %s lost, %s twice, %s out of order, %s gaps\n", "messages", grouped(d.Lost), grouped(d.Duplicate), grouped(d.OutOfOrder), grouped(d.Gaps))
	}
	if d := r.Deliver; d != nil && d.Gone > 0 {
		fmt.Fprintf(b, "%-11s %s, as the node said\n", "gone", grouped(d.Gone))
	}
	if p := r.Publish; p != nil && p.Unsent > 0 {
		fmt.Fprintf(b, "%-11s %s\n", "unsent", grouped(p.Unsent))
	}
	total := 0
	kinds := slices.SortedFunc(maps.Keys(r.Errors), func(a, c string) int { return r.Errors[c] - r.Errors[a] })
	for _, kind := range kinds {
		total += r.Errors[kind]
	}
	fmt.Fprintf(b, "%-11s %s\n", "errors", grouped(total))
	for _, kind := range kinds {
		fmt.Fprintf(b, "%-11s   %s x %s\n", "", grouped(r.Errors[kind]), kind)
	}
}

func (r *Result) printCost(b *strings.Builder) {
	n := &r.Node
	switch n.Source {
	case "":
		fmt.Fprintf(b, "%-11s CPU and memory not known\n", "node")
	default:
		fmt.Fprintf(b, "%-11s CPU %.2f s%s\n", "node", n.CPU, r.cpuPerMillion())
		m := &n.Memory
		fmt.Fprintf(b, "%-11s memory %s before, %s peak, %s settled", "", mebibytes(m.Before), mebibytes(m.Peak), mebibytes(m.Settled))
		if r.Connect.Open > 0 && m.PerConnection > 0 {
			fmt.Fprintf(b, ", %.1f KiB per connection", m.PerConnection/1024)
		}
		fmt.Fprintf(b, " (%s)\n", r.memorySource())
	}
	fmt.Fprintf(b, "%-11s CPU %.2f s, %.0f%% of a processor at most\n", "generator", r.Generator.CPU, r.Generator.Busiest*100)
}

func (r *Result) cpuPerMillion() string {
	what := "deliveries"
	switch r.Scenario {
	case Idle:
		return ""
	case Connect:
		what = "connections"
	case Publish:
		what = "publishes"
	case Fanout, Rooms, Replay:
	}
	return fmt.Sprintf(", %.1f s per million %s", r.Node.CPUPerMillion, what)
}

func (r *Result) memorySource() string {
	if r.Node.Source == "metrics" {
		return "RSS by /metrics"
	}
	pids := make([]string, len(r.Node.PIDs))
	for i, pid := range r.Node.PIDs {
		pids[i] = strconv.Itoa(pid)
	}
	return "PSS of process " + strings.Join(pids, ", ")
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// milliseconds has three digits that count.
func milliseconds(ms float64) string {
	switch {
	case ms >= 10_000:
		return fmt.Sprintf("%.1f s", ms/1000)
	case ms >= 1000:
		return fmt.Sprintf("%.2f s", ms/1000)
	case ms >= 100:
		return fmt.Sprintf("%.0f ms", ms)
	case ms >= 10:
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.2f ms", ms)
}

// grouped writes 1234567 as 1,234,567.
func grouped(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func counted(n int, thing string) string {
	if n != 1 && thing != "process" {
		thing += "s"
	}
	return grouped(n) + " " + thing
}

// String is a line that tells a person how far a run is.
func (p Progress) String() string {
	step := map[string]string{
		stepPublish: "publishing", stepConnect: "connecting", stepLoad: "loading", stepDrain: "draining", "hold": "holding", stepEnd: "ending",
	}[p.Step]
	// The columns keep their places while the numbers grow.
	text := fmt.Sprintf("%-10s", step)
	if p.Connections > 0 {
		total := grouped(p.Connections)
		text += fmt.Sprintf("  %*s/%s open", len(total), grouped(p.Open), total)
	}
	text += fmt.Sprintf("  %9s deliveries/s  %7s publishes/s", grouped(int(p.ReceivedPerSecond)), grouped(int(p.StoredPerSecond)))
	if p.Remaining > 0 {
		text += fmt.Sprintf("  %3.0f s left", p.Remaining.Seconds())
	}
	return text
}
