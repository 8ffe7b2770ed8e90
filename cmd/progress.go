package cmd

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progressAfter is how long a publish may take before its progress is shown.
const progressAfter = time.Second

// progress shows how far a long publish has come, to a person only.
type progress struct {
	w     io.Writer // nil shows nothing
	total int64     // bytes of the input, -1 where unknown
	began time.Time
	bar   *progressbar.ProgressBar // nil until progressAfter
}

func newProgress(in io.Reader, w io.Writer) *progress {
	p := &progress{total: -1, began: time.Now()}
	file, ok := in.(*os.File)
	if !isTerminal(w) || !ok || isTerminal(file) {
		return p
	}
	p.w = w
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
		p.total = info.Size()
	}
	return p
}

// at says how many bytes were read and messages stored so far.
func (p *progress) at(read int64, stored int) {
	if p.w == nil || p.bar == nil && time.Since(p.began) < progressAfter {
		return
	}
	amount := read
	if p.total < 0 {
		amount = int64(stored)
	}
	if p.bar == nil {
		p.bar = p.start()
	}
	_ = p.bar.Set64(amount) // what a bar cannot show is nothing to fail for
}

func (p *progress) start() *progressbar.ProgressBar {
	opts := []progressbar.Option{
		progressbar.OptionSetWriter(p.w),
		progressbar.OptionThrottle(100 * time.Millisecond),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetDescription("publishing"),
	}
	if p.total < 0 {
		return progressbar.NewOptions64(-1, append(opts, progressbar.OptionShowCount(), progressbar.OptionShowIts())...)
	}
	return progressbar.NewOptions64(p.total, append(opts, progressbar.OptionShowBytes(true), progressbar.OptionSetPredictTime(true))...)
}

func (p *progress) finish() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
