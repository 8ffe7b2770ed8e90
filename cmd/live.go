package cmd

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// liveLine is one line of a terminal that is written again and again. It writes
// nothing where there is no terminal.
type liveLine struct {
	w     io.Writer // nil shows nothing
	fd    int
	shown bool
}

func newLiveLine(w io.Writer) *liveLine {
	file, ok := w.(*os.File)
	if !ok || !isTerminal(w) {
		return &liveLine{}
	}
	return &liveLine{w: file, fd: int(file.Fd())}
}

const eraseLine = "\r\x1b[K"

// show replaces the line; what does not fit on it is cut, as a second line could
// not be taken back.
func (l *liveLine) show(text string) {
	if l.w == nil {
		return
	}
	if width, _, err := term.GetSize(l.fd); err == nil && width > 1 {
		if r := []rune(text); len(r) >= width {
			text = string(r[:width-1])
		}
	}
	l.shown = true
	fmt.Fprint(l.w, eraseLine+strings.TrimRight(text, " "))
}

func (l *liveLine) clear() {
	if l.shown {
		fmt.Fprint(l.w, eraseLine)
	}
	l.shown = false
}
