defmodule Leash.JSON do
  @moduledoc false
  # Elixir has JSON from 1.18 on, OTP from 27 on. Elsewhere the encoder and the strict decoder (RFC 8259)
  # below do.

  @deepest 200

  native =
    cond do
      Code.ensure_loaded?(JSON) -> :elixir
      Code.ensure_loaded?(:json) -> :otp
      true -> :own
    end

  @spec encode(term) :: iodata
  @spec decode(binary) :: {:ok, term} | :error
  case native do
    :elixir ->
      def encode(term), do: apply(JSON, :encode_to_iodata!, [term])

      def decode(text) do
        with {:error, _} <- apply(JSON, :decode, [text]), do: :error
      end

    :otp ->
      def encode(term), do: write(term)

      def decode(text) do
        case apply(:json, :decode, [text, :ok, %{null: nil}]) do
          {term, :ok, rest} -> if String.trim(rest) == "", do: {:ok, term}, else: :error
        end
      rescue
        _ -> :error
      end

    :own ->
      def encode(term), do: write(term)
      def decode(text), do: read(text)
  end

  @doc false
  def write(nil), do: "null"
  def write(true), do: "true"
  def write(false), do: "false"
  def write(number) when is_integer(number), do: Integer.to_string(number)
  def write(number) when is_float(number), do: :io_lib_format.fwrite_g(number)
  def write(atom) when is_atom(atom), do: write(Atom.to_string(atom))
  def write(text) when is_binary(text), do: [?", escape(text), ?"]
  def write(list) when is_list(list), do: [?[, Enum.map_intersperse(list, ?,, &write/1), ?]]

  def write(%{} = map) do
    [?{, Enum.map_intersperse(map, ?,, fn {key, value} -> [write(to_string(key)), ?:, write(value)] end), ?}]
  end

  defp escape(text) do
    if not String.valid?(text), do: raise(ArgumentError, "not UTF-8: #{inspect(text)}")

    for <<char <- text>>, into: <<>> do
      case char do
        ?" -> "\\\""
        ?\\ -> "\\\\"
        c when c < 0x20 -> "\\u00" <> Base.encode16(<<c>>)
        c -> <<c>>
      end
    end
  end

  @doc false
  def read(text) do
    {value, rest} = value(blank(text), 0)
    if blank(rest) == "", do: {:ok, value}, else: :error
  catch
    :bad -> :error
  end

  defp blank(<<char, rest::binary>>) when char in ' \t\n\r', do: blank(rest)
  defp blank(rest), do: rest

  defp value(_, depth) when depth > @deepest, do: throw(:bad)
  defp value(<<?", rest::binary>>, _), do: string(rest, rest, 0, [])
  defp value(<<?{, rest::binary>>, depth), do: object(blank(rest), depth)
  defp value(<<?[, rest::binary>>, depth), do: array(blank(rest), depth)
  defp value("true" <> rest, _), do: {true, rest}
  defp value("false" <> rest, _), do: {false, rest}
  defp value("null" <> rest, _), do: {nil, rest}
  defp value(rest, _), do: number(rest)

  defp object("}" <> rest, _), do: {%{}, rest}
  defp object(rest, depth), do: members(rest, depth, [])

  defp members(<<?", rest::binary>>, depth, found) do
    {key, rest} = string(rest, rest, 0, [])

    case blank(rest) do
      ":" <> rest ->
        {value, rest} = value(blank(rest), depth + 1)
        found = [{key, value} | found]

        case blank(rest) do
          "," <> rest -> members(blank(rest), depth, found)
          "}" <> rest -> {found |> Enum.reverse() |> Map.new(), rest}
          _ -> throw(:bad)
        end

      _ ->
        throw(:bad)
    end
  end

  defp members(_, _, _), do: throw(:bad)

  defp array("]" <> rest, _), do: {[], rest}
  defp array(rest, depth), do: elements(rest, depth, [])

  defp elements(rest, depth, found) do
    {value, rest} = value(rest, depth + 1)

    case blank(rest) do
      "," <> rest -> elements(blank(rest), depth, [value | found])
      "]" <> rest -> {Enum.reverse([value | found]), rest}
      _ -> throw(:bad)
    end
  end

  # What needs no change is taken in one piece: `from` at its begin, `size` bytes of it so far.
  defp string(<<?", rest::binary>>, from, size, pieces) do
    {finish(pieces, binary_part(from, 0, size)), rest}
  end

  defp string(<<?\\, char, rest::binary>>, from, size, pieces) do
    pieces = [pieces | binary_part(from, 0, size)]

    if char == ?u do
      {text, rest} = unicode(rest)
      string(rest, rest, 0, [pieces | text])
    else
      string(rest, rest, 0, [pieces | escaped(char)])
    end
  end

  defp string(<<char, rest::binary>>, from, size, pieces) when char in 0x20..0x7F,
    do: string(rest, from, size + 1, pieces)

  defp string(<<char::utf8, rest::binary>>, from, size, pieces) when char > 0x7F,
    do: string(rest, from, size + byte_size(<<char::utf8>>), pieces)

  defp string(_, _, _, _), do: throw(:bad)

  # A copy, or a short line would keep the whole message alive.
  defp finish([], last), do: :binary.copy(last)
  defp finish(pieces, last), do: IO.iodata_to_binary([pieces | last])

  defp escaped(?"), do: "\""
  defp escaped(?\\), do: "\\"
  defp escaped(?/), do: "/"
  defp escaped(?b), do: "\b"
  defp escaped(?f), do: "\f"
  defp escaped(?n), do: "\n"
  defp escaped(?r), do: "\r"
  defp escaped(?t), do: "\t"
  defp escaped(_), do: throw(:bad)

  defp unicode(text) do
    case hex(text) do
      {high, <<?\\, ?u, rest::binary>>} when high in 0xD800..0xDBFF ->
        case hex(rest) do
          {low, rest} when low in 0xDC00..0xDFFF ->
            {<<0x10000 + (high - 0xD800) * 0x400 + (low - 0xDC00)::utf8>>, rest}

          _ ->
            throw(:bad)
        end

      {half, _} when half in 0xD800..0xDFFF ->
        throw(:bad)

      {char, rest} ->
        {<<char::utf8>>, rest}
    end
  end

  defp hex(<<digits::binary-size(4), rest::binary>>) do
    case Base.decode16(digits, case: :mixed) do
      {:ok, <<number::16>>} -> {number, rest}
      :error -> throw(:bad)
    end
  end

  defp hex(_), do: throw(:bad)

  defp number(text) do
    case Regex.run(~r/^(-?(?:0|[1-9][0-9]*))(\.[0-9]+)?([eE][+-]?[0-9]+)?/, text) do
      [all, whole] ->
        {String.to_integer(whole), after_number(text, all)}

      [all, whole, fraction | exponent] ->
        fraction = if fraction == "", do: ".0", else: fraction

        case Float.parse(whole <> fraction <> Enum.join(exponent)) do
          {number, ""} -> {number, after_number(text, all)}
          _ -> throw(:bad)
        end

      nil ->
        throw(:bad)
    end
  rescue
    ArgumentError -> throw(:bad)
  end

  defp after_number(text, taken) do
    binary_part(text, byte_size(taken), byte_size(text) - byte_size(taken))
  end
end
