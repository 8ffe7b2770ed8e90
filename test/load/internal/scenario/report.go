//go:build linux

package scenario

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Medians makes one row of the rows of several runs that are of the same case.
func Medians(rows []Row) []Row {
	var out []Row
	values := map[[3]string][]float64{}
	for _, r := range rows {
		if !slices.ContainsFunc(out, func(o Row) bool { return o.Scenario == r.Scenario && o.Case == r.Case }) {
			out = append(out, Row{r.Scenario, r.Case, slices.Clone(r.Metrics)})
		}
		for _, m := range r.Metrics {
			key := [3]string{r.Scenario, r.Case, m.Name}
			values[key] = append(values[key], m.Value)
		}
	}
	for _, r := range out {
		for i, m := range r.Metrics {
			r.Metrics[i].Value = median(values[[3]string{r.Scenario, r.Case, m.Name}])
		}
	}
	return out
}

func median(list []float64) float64 {
	slices.Sort(list)
	n := len(list)
	if n%2 == 1 {
		return list[n/2]
	}
	return (list[n/2-1] + list[n/2]) / 2
}

// WriteTables writes a Markdown table for each scenario.
func WriteTables(w io.Writer, rows []Row) {
	scenario := ""
	for _, r := range rows {
		if r.Scenario != scenario {
			scenario = r.Scenario
			heads := []string{scenario}
			for _, m := range r.Metrics {
				heads = append(heads, m.Name)
			}
			fmt.Fprintf(w, "\n| %s |\n|%s\n", strings.Join(heads, " | "), " --- |"+strings.Repeat(" ---: |", len(r.Metrics)))
		}
		cells := []string{r.Case}
		for _, m := range r.Metrics {
			cells = append(cells, format(m.Value))
		}
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
	}
}

// format writes a figure with three digits that count, or all of a large one.
func format(v float64) string {
	switch a := math.Abs(v); {
	case v == 0:
		return "0"
	case a >= 1000:
		s := strconv.FormatFloat(math.Round(v), 'f', 0, 64)
		for i := len(s) - 3; i > 0; i -= 3 {
			s = s[:i] + "," + s[i:]
		}
		return s
	case a >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}

// Machine says on what this runs.
func Machine() string {
	model := runtime.GOARCH
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			if name, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	kernel := "Linux"
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		version, _, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
		kernel += " " + version
	}
	return fmt.Sprintf("%s, %d processors, %s, %s", model, runtime.NumCPU(), kernel, runtime.Version())
}
