package signaling

import (
	"fmt"
	"net/http"
	"strings"
)

// backupParameter is the parameter of a publisher's URL that makes it the backup.
const backupParameter = "backup"

// asksForBackup reports whether a publisher is to stand by for another, see api.Offer. Another value than 1 could mean
// either, so it is refused.
func asksForBackup(r *request) (bool, error) {
	values, ok := r.URL.Query()[backupParameter]
	switch {
	case !ok:
		return false, nil
	case len(values) == 1 && values[0] == "1":
		return true, nil
	}
	return false, &problem{
		status: http.StatusBadRequest, kind: "backup", title: "Invalid backup parameter",
		detail: fmt.Sprintf("backup is %s; expected 1 once, or no such parameter", quote(strings.Join(values, ", "))),
	}
}
