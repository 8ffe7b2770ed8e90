package protocol

func (e *AckedEvent) set(name []byte, v value) *DecodeError {
	switch string(name) {
	case "channel":
		return v.text("channel", &e.Channel)
	case "offset":
		return v.unsigned("offset", &e.Offset)
	case "position":
		return v.text("position", &e.Position)
	case "token":
		return v.text("token", &e.Token)
	}
	return nil
}

func (e *PresenceEvent) set(name []byte, v value) *DecodeError {
	switch string(name) {
	case "channel":
		return v.text("channel", &e.Channel)
	case "members":
		return v.memberList("members", &e.Members)
	case "joined":
		return v.memberList("joined", &e.Joined)
	case "left":
		return v.memberList("left", &e.Left)
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

func (v value) memberList(field string, dst *[]Member) *DecodeError {
	switch {
	case v.null():
		return nil
	case v[0] != '[':
		return refuse(field, "must be an array of members, not %s", v.kind())
	}
	*dst = nil
	return elements(v, func(item value) *DecodeError {
		if item[0] != '{' {
			return refuse(field, "must be an array of members, but has %s", item.kind())
		}
		var m Member
		if err := members(item, m.set); err != nil {
			return err
		}
		return addMember(field, dst, m)
	})
}

// addMember bounds what a frame of many small members makes of itself in memory.
func addMember(field string, dst *[]Member, m Member) *DecodeError {
	if len(*dst) == MaxMembers {
		return refuse(field, "has more than %d members", MaxMembers)
	}
	*dst = append(*dst, m)
	return nil
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
