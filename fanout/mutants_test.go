package fanout_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"
)

// mutants are ways to break promise 2. Each old text occurs once in the package.
func mutants() map[string]mutant {
	return map[string]mutant{
		"a hole in the feed is no hole": {
			old:  "case m.Prev <= base.Offset:",
			new:  "case true:",
			test: "TestHoleIsReadOncePerNode",
		},
		"the splice does not look where the shard stands": {
			old:  "c.pos.Offset < end && upTo.Offset < end",
			new:  "false && c.pos.Offset < end && upTo.Offset < end",
			test: "TestStoredDuringTheLastRead",
		},
		"a loss that the feed announces is ignored": {
			old:  `if id == "" || s.key.Stream == id {`,
			new:  "if false {",
			test: "TestAnnouncedLoss",
		},
		"a message that the sink refused counts as delivered": {
			old:  "		c.fellBehind()\n		return false\n",
			new:  "		c.fellBehind()\n		c.pos = m.Position\n		return false\n",
			test: "TestViewOverflow",
		},
		"everything is complete": {
			old:  "	if stored && ev.Matches {\n",
			new:  "	if true {\n",
			test: "TestPurgeIsToldAsGap",
		},
		"the limit of a channel takes nothing": {
			old:  "			return false, protocol.ReasonRetention\n		}\n	}\n	return true, \"\"",
			new:  "			return true, \"\"\n		}\n	}\n	return true, \"\"",
			test: "TestComplete",
		},
		"messages that left singly hide an overflow": {
			old:  "ev.Singly && ev.Gone+c.Count > ev.Limit+1",
			new:  "false",
			test: "TestComplete",
		},
		"the ring skips a message": {
			old:  "	n := min(limit, r.count-i)\n",
			new:  "	if i < r.count {\n		i++\n	}\n	n := min(limit, r.count-i)\n",
			test: "TestRingServesLateJoiners",
		},
		"a shard that lagged does not catch up": {
			old:  "				s.catchUp(src)\n",
			new:  "				s.mu.Lock()\n				delete(s.lagged, src)\n				s.mu.Unlock()\n",
			test: "TestShardCatchesUp",
		},
		"a gap is not told": {
			old:  "	ok := c.sub.client.notify(Notice{Kind: NoticeGap,",
			new:  "	ok := true || c.sub.client.notify(Notice{Kind: NoticeGap,",
			test: "TestEvictedBeforeFallingBehind",
		},
		"a resume never loses anything": {
			old:  "c.sub.begins(c, false, reason)",
			new:  `c.sub.begins(c, true, "")`,
			test: "TestPurgeIsToldAsGap",
		},
		"the tail is read before interest is declared": {
			old:  "	err := h.feed.Watch(ctx, s.key)\n	var t Tail\n	if err == nil {\n		if t, err = h.backend.Tail(ctx, s.key); err != nil {\n			h.feed.Unwatch(s.key)\n		}\n	}\n",
			new:  "	t, err := h.backend.Tail(ctx, s.key)\n	if err == nil {\n		err = h.feed.Watch(ctx, s.key)\n	}\n",
			test: "TestPublishedWhileOpening",
		},
		"a repetition from the feed is handed over": {
			old:  "	case m.Offset() <= base.Offset:\n		return orderSeen\n",
			new:  "",
			test: "TestRepeatedByTheFeed",
		},
		"what comes late does not spoil an older answer": {
			old:  "c.backlog().overflow = true",
			new:  "_ = c.backlog()",
			test: "TestLateMessageDuringRead",
		},
		"who leaves takes another's message along": {
			old:  "	if visited := ss.lane.visited; hole < visited {",
			new:  "	if visited := ss.lane.visited; false && hole < visited {",
			test: "TestLeavingBetweenSlices",
		},
		"what is in lanes counts into no bound": {
			old:  "	s.live = s.laned\n",
			new:  "	s.live = 0\n",
			test: "TestLanesAreBounded",
		},
		"a gap overtakes the messages in a lane": {
			old:  "	s.finishLane(ss) // all else keeps its place among the messages\n",
			new:  "",
			test: "TestGapWaitsForTheLane",
		},
		"a crowd is handed over to its end": {
			old:  "		s.sliced = append(s.sliced, ss) // the others have their turn first\n",
			new:  "		s.sliced = slices.Insert(s.sliced, 0, ss)\n",
			test: "TestCrowdsTakeTurns",
		},
		"a view counts as complete before its base": {
			old:  "		return v.search(x.Offset), x == v.base\n",
			new:  "		return v.search(x.Offset), true\n",
			test: "TestGapOfConflated",
		},
		"a view keeps the older of a key": {
			old:  "			v.empty(v.search(old - 1))\n		}\n		v.newest[key] = m.Offset()\n",
			new:  "			return false\n		}\n		v.newest[key] = m.Offset()\n",
			test: "TestViewAgainstNaive",
		},
		"of a batch the older of a key counts": {
			old:  "	for i, m := range slices.Backward(msgs) {\n		key, ok",
			new:  "	for i, m := range msgs {\n		key, ok",
			test: "TestSlowClientGetsTheNewest",
		},
		"a turn does not come": {
			old:  "			sub.each(func(c *cursor) bool { c.at.wake(c); return true })\n			sub.resume()\n",
			new:  "",
			test: "TestRate",
		},
		"a filter that was asked forgets": {
			old:  "		if v.filter == f.id {\n			return v.passes\n",
			new:  "		if v.filter == f.id {\n			return !v.passes\n",
			test: "TestLiveFilterIsAskedOnce",
		},
		"a purge leaves the view as it is": {
			old:  "	case m.Kind == KindPurge && !pattern:\n		v.reset(m.Position)\n",
			new:  "	case m.Kind == KindPurge && !pattern:\n",
			test: "TestPurgeOfConflated",
		},
		"a purge leaves the ring as it is": {
			old:  "			s.ring.purge(m, s.key.Filter.IsPattern())\n",
			new:  "",
			test: "TestPurgeIsToldAsGap",
		},
		"a deletion leaves the ring as it is": {
			old:  "			s.ring.drop(m)\n",
			new:  "",
			test: "TestGoneFromTheRing",
		},
		"a place that a loose pattern's feed led to counts as proven": {
			old:  "	if c.unproven && !c.prove() {\n",
			new:  "	if false && c.unproven && !c.prove() {\n",
			test: "TestLostBeforeFallingBehind",
		},
		"what is gone before a loose pattern's place is not its loss": {
			old:  "		if c.unproven { // what is gone may lie before its place\n",
			new:  "		if false && c.unproven {\n",
			test: "TestEvictedBeforeFallingBehind",
		},
		"a view overtakes what is late": {
			old:  "	if s.loose() && s.proofs.asides != c.at.asides {\n",
			new:  "	if false {\n",
			test: "TestLateBehindView",
		},
		"too many late messages are let go of": {
			old:  "		c.goBack(b.lateFrom) // rather twice than not at all\n",
			new:  "		c.goBack(it.m.Position)\n",
			test: "TestLateOverflow",
		},
		"a view begins with another log than it goes on": {
			old:  "	ok, _, err := s.proveLast(ctx, from)\n	if err != nil || ok {\n",
			new:  "	ok, _, err := s.proveLast(ctx, from)\n	if true || ok {\n",
			test: "TestFillOfAnotherLog",
		},
		"a purge before the first message is never told": {
			old:  "		if m.Offset() <= c.born && (!c.got",
			new:  "		if (!c.got",
			test: "TestPurgedBeforeTheFirst",
		},
		"what was had in a log that was rolled back is had in the new one": {
			old:  "at <= s.to && m.Position.Time <= s.time && s.filter",
			new:  "at <= s.to && s.filter",
			test: "TestRolledBackBesideAPattern",
		},
		"what a pattern had is where it was in a log that was rolled back": {
			old:  "at <= b.until && m.Position.Time <= b.untilTime && !any",
			new:  "at <= b.until && !any",
			test: "TestRolledBackUnderTakenOver",
		},
		"what outdated a message is never rolled back": {
			old:  "	case ok && c.mayLack(res.Evidence):\n",
			new:  "	case false && ok && c.mayLack(res.Evidence):\n",
			test: "TestRolledBackUnderConflated",
		},
		"a resume after a rollback lacks nothing": {
			old:  "ev.Tag != c.pos.Stream && (c.sub.announced || !c.sub.snapshots())",
			new:  "ev.Tag != c.pos.Stream && c.sub.announced",
			test: "TestRolledBackUnderResumeOfConflated",
		},
		"a gap is not told, and the model sees it": {
			old:  "	ok := c.sub.client.notify(Notice{Kind: NoticeGap,",
			new:  "	ok := true || c.sub.client.notify(Notice{Kind: NoticeGap,",
			test: "TestCursorModel",
		},
		"what was refused counts as delivered, and the model sees it": {
			old:  "		c.fellBehind()\n		return false\n",
			new:  "		c.fellBehind()\n		c.pos = m.Position\n		return false\n",
			test: "TestOverlapModel",
		},
		"a subscription that was not announced has messages": {
			old:  "		if !sub.announced {\n			break // nor are those that follow\n",
			new:  "		if false {\n			break\n",
			test: "TestUnannouncedHasNoPart",
		},
		"messages belong to the pattern that was attached first": {
			old:  "	copy(c.active[n+1:i+1], c.active[n:i])\n	c.active[n] = s\n",
			new:  "	_ = i\n",
			test: "TestPatternsInTheOrderOfTheirSubscribed",
		},
		"a pattern has had what it left to an older one": {
			old:  "min(o.hadOf(c.sub.channel), upTo)",
			new:  "o.hadOf(c.sub.channel)",
			test: "TestLeftToAnOlderPattern",
		},
		"one that ended has had what it left to others": {
			old:  "			to = min(to, o.hadAll())\n",
			new:  "			_ = o\n",
			test: "TestLeftByTwoPatterns",
		},
		"a pattern has had what it is yet to take over": {
			old:  "!anyMatches(b.left, channel)",
			new:  "true",
			test: "TestTakenOverIsNotHad",
		},
		"what has outlived its TTL is delivered": {
			old:  "m.Offset() <= c.start || m.expired()",
			new:  "m.Offset() <= c.start",
			test: "TestGoneFromTheRing",
		},
	}
}

type mutant struct {
	old, new string
	test     string // that notices, whatever the timing; a model only what it cannot miss
}

// TestMutants breaks the splice on purpose, in each of many ways, and requires that
// a test notices: a model that holds whatever the code does would prove nothing.
func TestMutants(t *testing.T) {
	t.Parallel()
	if testing.Short() { // left out only where -short asks for it; the test command does not
		t.Skip("builds the package once per mutant")
	}
	sources := readSources(t)
	room := semaphore.NewWeighted(2) // compilers and models at once, on two processors
	for name, m := range mutants() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			overlay := m.write(t, sources)
			if err := room.Acquire(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			defer room.Release(1)
			m.mustDie(t, overlay)
		})
	}
}

func readSources(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	sources := make(map[string]string)
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		sources[f] = string(b)
	}
	return sources
}

// write makes an overlay in which the one place that has the old text has the new.
func (m mutant) write(t *testing.T, sources map[string]string) (overlay string) {
	t.Helper()
	var found []string
	for name, text := range sources {
		for range strings.Count(text, m.old) {
			found = append(found, name)
		}
	}
	if len(found) != 1 {
		t.Fatalf("the text to replace is in %q, want it once; adjust the mutant to the code:\n%s", found, m.old)
	}
	dir := t.TempDir()
	original, err := filepath.Abs(found[0])
	if err != nil {
		t.Fatal(err)
	}
	broken, overlay := filepath.Join(dir, found[0]), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {original: broken}})
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{broken: strings.Replace(sources[found[0]], m.old, m.new, 1), overlay: string(list)} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return overlay
}

var verdict = regexp.MustCompile(`hole in|silent hole|repeated or out of order|never got|skips|told that history is gone|delivery starts at|told \[|is not told after|holds more than|handed over as number|complete true|after \d+ come`)

func (m mutant) mustDie(t *testing.T, overlay string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", "test", "-vet=off", "-gcflags=-N -l -dwarf=false", "-ldflags=-s -w", "-count=1", "-overlay", overlay, "-run", "^"+m.test+"$", ".")
	cmd.Env = append(os.Environ(), "MODEL_PATIENCE=1500ms")
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	err := cmd.Run()
	found := verdict.FindString(out.String())
	switch {
	case err == nil:
		t.Errorf("%s passes with the mutant:\n%s", m.test, out.String())
	case found == "":
		t.Errorf("%s fails (%v), but not for a broken promise:\n%.3000s", m.test, err, out.String())
	default:
		t.Logf("%s noticed %q after %v", m.test, found, time.Since(began).Round(time.Millisecond))
	}
}
