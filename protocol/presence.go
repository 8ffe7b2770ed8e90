package protocol

import "google.golang.org/protobuf/encoding/protowire"

// A PresenceEvent in both codecs.

func (e *PresenceEvent) set(name []byte, v value) *DecodeError {
	switch string(name) {
	case "channel":
		return v.text("channel", &e.Channel)
	case "members":
		return v.members("members", &e.Members)
	case "joined":
		return v.members("joined", &e.Joined)
	case "left":
		return v.members("left", &e.Left)
	case "clients":
		return v.count("clients", &e.Clients)
	case "users":
		return v.count("users", &e.Users)
	case "next":
		return v.text("next", &e.Next)
	case "partial":
		return v.boolean("partial", &e.Partial)
	}
	return nil
}

func (e *PresenceEvent) append(dst []byte) []byte {
	o := beginObject(dst)
	o.text("channel", e.Channel)
	o.optMembers("members", e.Members)
	o.optMembers("joined", e.Joined)
	o.optMembers("left", e.Left)
	o.integer("clients", int64(e.Clients))
	o.integer("users", int64(e.Users))
	o.optText("next", e.Next)
	o.optTrue("partial", e.Partial)
	return o.end()
}

func (e *PresenceEvent) wire(w *wire) {
	w.text(1, "channel", &e.Channel)
	w.members(2, "members", &e.Members)
	w.members(3, "joined", &e.Joined)
	w.members(4, "left", &e.Left)
	w.count(5, "clients", &e.Clients)
	w.count(6, "users", &e.Users)
	w.text(7, "next", &e.Next)
	w.boolean(8, "partial", &e.Partial)
}

func (m *Member) set(name []byte, v value) *DecodeError {
	switch string(name) {
	case "client":
		return v.text("client", &m.Client)
	case "user":
		return v.text("user", &m.User)
	case "info":
		return v.raw(&m.Info)
	case "since":
		return v.integer("since", &m.Since)
	}
	return nil
}

func (m *Member) append(dst []byte) []byte {
	o := beginObject(dst)
	o.text("client", m.Client)
	o.optText("user", m.User)
	o.optRaw("info", m.Info)
	o.optInteger("since", m.Since)
	return o.end()
}

func (m *Member) wire(w *wire) {
	w.text(1, "client", &m.Client)
	w.text(2, "user", &m.User)
	w.json(3, "info", &m.Info)
	w.integer(4, "since", &m.Since)
}

// members reads a list of members; like the other readers, it leaves dst as it is
// for null.
func (v value) members(field string, dst *[]Member) *DecodeError {
	if v.null() {
		return nil
	}
	*dst = nil
	return v.objects(field, "members", func(item value) *DecodeError {
		var m Member
		if err := members(item, m.set); err != nil {
			return err
		}
		return addMember(field, dst, m)
	})
}

func (o *object) optMembers(name string, list []Member) {
	if len(list) == 0 {
		return
	}
	o.name(name)
	o.dst = append(o.dst, '[')
	for i := range list {
		if i > 0 {
			o.dst = append(o.dst, ',')
		}
		o.dst = list[i].append(o.dst)
	}
	o.dst = append(o.dst, ']')
}

func (w *wire) members(num protowire.Number, name string, list *[]Member) {
	switch {
	case w.here(num):
		var m Member
		if w.err = w.field.check(name, protowire.BytesType); w.err == nil {
			w.err = readMessage(w.field.bytes, name, m.wire)
		}
		if w.err == nil {
			w.err = addMember(name, list, m)
		}
	case !w.reading:
		for i := range *list {
			m := &(*list)[i]
			at := w.open(num, len(m.Client)+len(m.User)+len(m.Info)+13)
			m.wire(w)
			w.close(at)
		}
	}
}

// addMember bounds a list as HistoryEvent.add does.
func addMember(field string, dst *[]Member, m Member) *DecodeError {
	if len(*dst) == MaxMembers {
		return refuse(field, "has more than %d members", MaxMembers)
	}
	*dst = append(*dst, m)
	return nil
}
