# curl. FOLDER is for its files; every step is one or a few calls of the page's functions.
# shellcheck shell=bash disable=SC1090,SC2153
source "$SETUP"
eval "new_tokens() $(declare -f refresh | tail -n +2)" # the page's, since a step is called so too

# Say what a call said, or that it failed, of which a text is left only where all went well: say CODE FILE [TEXT]
say() {
    if [[ $1 == 2* && -n $3 ]]; then
        printf '{"ok": true, %s}\n' "$3"
    else
        printf '{"ok": false, "error": "curl", "status": %d, "text": "%s"}\n' "$((10#$1))" "$(escaped "$2")"
    fi
}

escaped() { tr -d '\r\n' <"$1" | sed 's/\\/\\\\/g; s/"/\\"/g'; }
member() { sed -nE "s/.*\"$1\":\"([^\"]*)\".*/\1/p" "$FOLDER/body"; }
count() { grep -o "\"$1\"" "$FOLDER/body" | wc -l; }
digest() { printf '"bytes": %d, "sha256": "%s"' "$(wc -c <"$1")" "$(sha256sum "$1" | cut -d' ' -f1)"; }

# The status of a call, whose answer goes to a file: call FILE METHOD PATH [options]
call() { xero "${@:2}" --output "$1" --write-out '%{http_code}'; }

json() { call "$FOLDER/body" "$1" "/api.xro/2.0/$2" --header 'Content-Type: application/json' --data "$3"; }
attachment() { printf '/api.xro/2.0/Invoices/%s/Attachments/file.bin' "$1"; }

page() { code=$(call "$FOLDER/body" GET "/api.xro/2.0/Contacts?page=$1") && said="\"count\": $(count ContactID)"; }
where() {
    code=$(call "$FOLDER/body" GET /api.xro/2.0/Contacts --get --data-urlencode "where=$1") &&
        said="\"count\": $(count ContactID)"
}
create() { code=$(json PUT Contacts "{\"Name\": \"$1\"}") && said="\"id\": \"$(member ContactID)\""; }
update() { code=$(json POST "Contacts/$1" "{\"Name\": \"$2\"}") && said="\"name\": \"$(member Name)\""; }
bill() {
    local line='{"Description": "Rent", "Quantity": 1, "UnitAmount": 10}' contact='{"Name": "Landlord"}'
    code=$(json PUT Invoices \
        "{\"Type\": \"ACCPAY\", \"Contact\": $contact, \"LineItems\": [$line], \"Reference\": \"$1\"}") &&
        said="\"id\": \"$(member InvoiceID)\""
}
upload() {
    code=$(call "$FOLDER/body" PUT "$(attachment "$1")" --header 'Content-Type: application/octet-stream' \
        --data-binary "@$2") && said=$(digest "$2")
}
download() { code=$(call "$FOLDER/body" GET "$(attachment "$1")") && said=$(digest "$FOLDER/body"); }
connections() {
    code=$(call "$FOLDER/body" GET /Connections) && code=$(call "$FOLDER/body" GET /connections) &&
        said="\"count\": $(count tenantId)"
}
refresh() {
    code=$(new_tokens --output "$FOLDER/body" --write-out '%{http_code}') && TOKEN=$(member access_token) &&
        REFRESH_TOKEN=$(member refresh_token) && said='"changed": true'
}
burst() {
    local n
    for ((n = 0; n < $1; n++)); do
        call "$FOLDER/body.$n" GET '/api.xro/2.0/Contacts?page=1' >"$FOLDER/code.$n" &
    done
    wait
    code=200 said="\"done\": $(cat "$FOLDER"/code.* | grep -o 200 | wc -l), \"failed\": []"
}

echo '{}'
while IFS=$'\t' read -r -a words; do
    said= code=
    "${words[@]}"
    say "$code" "$FOLDER/body" "$said"
done
